/** Where the user writes a task: history, suggestions, sending. */

import {
  type KeyboardEvent,
  useEffect,
  useId,
  useLayoutEffect,
  useRef,
  useState
} from 'react';

import { applied, type ICompletion, type IOffer } from '../completion';
import { attachmentOf } from '../offers';
import { usePanel } from './context';
import { Suggestions } from './Suggestions';

export function TaskBox(props: { onSend: () => void }): JSX.Element {
  const { model, trans } = usePanel();
  const { draft } = model;
  const box = useRef<HTMLTextAreaElement>(null);
  const caret = useRef<number | null>(null);
  const [completion, setCompletion] = useState<ICompletion | null>(null);
  const [chosen, setChosen] = useState(0);
  const list = useId();

  useLayoutEffect(() => {
    const node = box.current!;
    node.style.height = 'auto';
    node.style.height = `${node.scrollHeight + 2}px`;
    if (caret.current !== null) {
      node.setSelectionRange(caret.current, caret.current);
      caret.current = null;
    }
  }, [draft.text]);

  const look = () => {
    const node = box.current!;
    const at = node.selectionStart;
    const found =
      at === node.selectionEnd ? model.completion(node.value, at) : null;
    setCompletion(found);
    setChosen(0);
  };
  useFocus(box, look);
  const put = (text: string, at = text.length) => {
    caret.current = at;
    setCompletion(null);
    model.write(text);
  };
  const pick = (offer: IOffer) => {
    const node = box.current!;
    const item = attachmentOf(offer);
    const next = applied(
      node.value,
      node.selectionStart,
      completion!.start,
      offer
    );
    put(next.text, next.caret);
    if (item) {
      model.attach(item);
    }
  };
  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.nativeEvent.isComposing) {
      return; // the key belongs to the input method
    }
    const done = completion
      ? suggestionKey(event)
      : event.key === 'Enter' && !event.shiftKey
        ? (props.onSend(), true)
        : historyKey(event);
    if (done) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  const suggestionKey = (event: KeyboardEvent): boolean => {
    const { offers } = completion!;
    switch (event.key) {
      case 'ArrowDown':
        setChosen((chosen + 1) % offers.length);
        return true;
      case 'ArrowUp':
        setChosen((chosen + offers.length - 1) % offers.length);
        return true;
      case 'Escape':
        setCompletion(null);
        return true;
      case 'Tab':
        if (event.shiftKey) {
          setCompletion(null); // else the focus would go there
          return false;
        }
        pick(offers[chosen]);
        return true;
      case 'Enter':
        if (event.shiftKey) {
          return false;
        }
        if (draft.text.trim() === offers[chosen].insert) {
          setCompletion(null);
          props.onSend();
        } else {
          pick(offers[chosen]);
        }
        return true;
      default:
        return false;
    }
  };
  const historyKey = (event: KeyboardEvent): boolean => {
    const node = box.current!;
    const { value, selectionStart, selectionEnd } = node;
    if (event.shiftKey || event.altKey || event.ctrlKey || event.metaKey) {
      return false;
    }
    if (
      event.key === 'ArrowUp' &&
      !value.slice(0, selectionEnd).includes('\n')
    ) {
      return take(draft.history.back(model.written, value));
    }
    if (
      event.key === 'ArrowDown' &&
      !value.slice(selectionStart).includes('\n')
    ) {
      return take(draft.history.forward());
    }
    return removesChip(event, value);
  };
  const removesChip = (event: KeyboardEvent, value: string): boolean => {
    const last = draft.attachments[draft.attachments.length - 1];
    if (event.key !== 'Backspace' || value || !last) {
      return false;
    }
    model.detach(last);
    return true;
  };
  const take = (text: string | null): boolean => {
    if (text !== null) {
      put(text);
    }
    return text !== null;
  };

  return (
    <div className="jp-codeagent-TaskBox">
      {completion && (
        <Suggestions
          id={list}
          completion={completion}
          chosen={chosen}
          onPick={pick}
        />
      )}
      <textarea
        ref={box}
        className="jp-mod-styled"
        rows={2}
        value={draft.text}
        placeholder={trans.__(
          'What should be done? @ attaches, / for commands'
        )}
        aria-label={trans.__('Task for the agent')}
        aria-autocomplete="list"
        aria-haspopup="listbox"
        aria-controls={completion ? list : undefined}
        aria-activedescendant={completion ? `${list}-${chosen}` : undefined}
        onChange={event => {
          draft.history.leave();
          model.write(event.target.value);
          look();
        }}
        onKeyDown={onKeyDown}
        onClick={look}
        onFocus={() => void model.refresh()}
        onBlur={() => setCompletion(null)}
      />
    </div>
  );
}

/** Take the focus when the model says so, also when that was before the box was there; then look what fits. */
function useFocus(
  box: React.RefObject<HTMLTextAreaElement>,
  look: () => void
): void {
  const { model } = usePanel();
  const latest = useRef(look);
  latest.current = look;
  useEffect(() => {
    let frame = 0;
    const focus = () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        const node = box.current;
        if (node && model.takeFocusRequest()) {
          node.focus();
          node.setSelectionRange(node.value.length, node.value.length);
          latest.current();
        }
      });
    };
    model.focusRequested.connect(focus);
    focus();
    return () => {
      cancelAnimationFrame(frame);
      model.focusRequested.disconnect(focus);
    };
  }, [model, box]);
}
