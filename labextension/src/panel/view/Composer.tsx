/** The foot of the panel: what leaves the machine, the box, what is attached, Send and Stop. */

import {
  caretDownIcon,
  caretUpIcon,
  stopIcon
} from '@jupyterlab/ui-components';
import { useId, useState } from 'react';

import type { INotebookWork } from '../../tokens';
import { send } from '../sending';
import { bounded, oneLine, visible } from '../text';
import { Chips } from './Chips';
import { usePanel } from './context';
import { Options } from './Options';
import { TaskBox } from './TaskBox';

export function Composer(props: { work: INotebookWork }): JSX.Element {
  const { model, deeds, trans } = usePanel();
  const [options, setOptions] = useState(false);
  const id = useId();
  const { text, attachments } = model.draft;
  const Caret = options ? caretDownIcon : caretUpIcon;
  const submit = () => void send(model, deeds);
  return (
    <div className="jp-codeagent-Composer">
      <Told />
      <Chips />
      <TaskBox onSend={submit} />
      {options && <Options id={id} />}
      <div className="jp-codeagent-Composer-row">
        <button
          type="button"
          className="jp-codeagent-IconButton"
          title={trans.__('Attach a cell, variable or file')}
          aria-label={trans.__('Attach a cell, variable or file')}
          onClick={() => {
            const gap = text && !/\s$/.test(text) ? ' ' : '';
            model.write(`${text}${gap}@`);
            model.requestFocus();
          }}
        >
          @
        </button>
        <button
          type="button"
          className="jp-codeagent-Composer-model"
          aria-expanded={options}
          aria-controls={options ? id : undefined}
          title={trans.__('Model and options')}
          onClick={() => setOptions(!options)}
        >
          <span>{oneLine(model.chosenModel, 80) || trans.__('Options')}</span>
          {model.tier && <span>{trans.__('tier %1', model.tier)}</span>}
          <Caret.react tag="span" width="14px" aria-hidden="true" />
        </button>
        <span className="jp-codeagent-Composer-send">
          <StopButton work={props.work} />
          <button
            type="button"
            className="jp-codeagent-Button jp-mod-accept"
            disabled={!text.trim() && !attachments.length}
            onClick={submit}
          >
            {trans.__('Send')}
          </button>
        </span>
      </div>
    </div>
  );
}

/** What leaves the machine with the next task; the user may fold it. */
function Told(): JSX.Element | null {
  const { model, trans } = usePanel();
  const { told, settings } = model;
  return told ? (
    <details
      className="jp-codeagent-Panel-quiet"
      open={settings.get('showDisclosure')}
      onToggle={event =>
        void model.act(() =>
          settings.set('showDisclosure', event.currentTarget.open)
        )
      }
    >
      <summary>{trans.__('What will leave this machine')}</summary>
      <p>{visible(bounded(told, 1000).text)}</p>
    </details>
  ) : null;
}

function StopButton(props: { work: INotebookWork }): JSX.Element | null {
  const { model, trans } = usePanel();
  const { work } = props;
  const { running } = work;
  return running ? (
    <button
      type="button"
      className="jp-codeagent-Button"
      onClick={() => void model.act(() => work.stop(running))}
    >
      <stopIcon.react tag="span" width="12px" aria-hidden="true" />
      {trans.__('Stop')}
    </button>
  ) : null;
}
