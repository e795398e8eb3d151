/** The head of the panel: which notebook, what its tasks took, and what can be done with them. */

import { addIcon, type LabIcon, saveIcon } from '@jupyterlab/ui-components';

import { stampDetails, stampWords } from '../../stamp/stamp';
import type { INotebookWork } from '../../tokens';
import { sumOf } from '../sums';
import { dollars, duration, oneLine } from '../text';
import { verifyIcon } from '../verifyIcon';
import { usePanel } from './context';
import { Status } from './Status';
import { tokensText } from './Task';

export function Header(props: { work: INotebookWork }): JSX.Element {
  const { model, deeds, trans } = usePanel();
  const { work } = props;
  const { tasks } = work;
  return (
    <div className="jp-codeagent-Header">
      <div className="jp-codeagent-Header-title">
        <span>{oneLine(work.panel.title.label, 100)}</span>
        <Totals work={work} />
        <Stamp />
      </div>
      {model.verifiable && (
        <HeaderButton
          icon={verifyIcon}
          label={trans.__('Verify in a fresh sandbox')}
          disabled={model.verifying.running}
          onClick={() => {
            model.showVerification();
            const path = work.panel.context.localPath;
            void model.act(() => deeds.verify(path));
          }}
        />
      )}
      <HeaderButton
        icon={saveIcon}
        label={trans.__('Save as notebook...')}
        disabled={
          !model.info?.saving.has('tasks') &&
          !tasks.some(task => task.attempts.length > 0)
        }
        onClick={() => void model.act(() => deeds.saveAs(work))}
      />
      <HeaderButton
        icon={addIcon}
        label={trans.__('New chat: fold earlier tasks')}
        disabled={model.folds.count(tasks) >= tasks.length}
        onClick={() => {
          model.folds.fold(tasks);
          model.requestFocus();
        }}
      />
    </div>
  );
}

function Totals(props: { work: INotebookWork }): JSX.Element | null {
  const { model, trans } = usePanel();
  const { tasks } = props.work;
  const sum = sumOf(tasks);
  if (!tasks.length) {
    return null;
  }
  const facts = [
    trans._n('%1 task', '%1 tasks', tasks.length),
    model.costs && sum.tokens > 0 && tokensText(sum.tokens, trans),
    model.costs && sum.cost !== null && dollars(sum.cost),
    sum.seconds > 0 && duration(sum.seconds)
  ];
  return (
    <span className="jp-codeagent-Panel-quiet">
      {facts.filter(fact => fact).join(' · ')}
    </span>
  );
}

/** What the file says of its verification, and whether that still holds. */
function Stamp(): JSX.Element | null {
  const { model, trans } = usePanel();
  const { stamp, standing } = model.stamp ?? {};
  return stamp && standing ? (
    <span
      className="jp-codeagent-Panel-quiet jp-codeagent-Header-stamp"
      title={stampDetails(stamp, standing, trans)}
    >
      <Status status={standing} word={stampWords(stamp, standing, trans)} />
    </span>
  ) : null;
}

function HeaderButton(props: {
  icon: LabIcon;
  label: string;
  disabled: boolean;
  onClick: () => void;
}): JSX.Element {
  return (
    <button
      type="button"
      className="jp-codeagent-IconButton"
      title={props.label}
      aria-label={props.label}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      <props.icon.react tag="span" width="16px" aria-hidden="true" />
    </button>
  );
}
