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
  const told = model.told;
  const submit = () => void send(model, deeds);
  return (
    <footer className="jp-codeagent-Composer">
      {told && (
        <p className="jp-codeagent-Told jp-codeagent-Panel-quiet">
          {visible(bounded(told, 1000).text)}
        </p>
      )}
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
        <span className="jp-codeagent-Composer-space" />
        <StopButton work={props.work} />
        <button
          type="button"
          className="jp-codeagent-Button jp-mod-accept"
          disabled={!text.trim() && !attachments.length}
          onClick={submit}
        >
          {trans.__('Send')}
        </button>
      </div>
    </footer>
  );
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
