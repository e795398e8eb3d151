/** One attempt. */

import { caretDownIcon, caretRightIcon } from '@jupyterlab/ui-components';
import { memo, useState } from 'react';

import { isPassedOver, mayChoose } from '../../candidates';
import type { IAttemptView, INotebookWork } from '../../tokens';
import { duration, oneLine } from '../text';
import { attemptName, attemptWord, candidateWord } from '../words';
import { Code } from './Code';
import { usePanel } from './context';
import { Markdown } from './Markdown';
import { Status } from './Status';

export interface ICardProps {
  work: INotebookWork;
  task: string;
  attempt: IAttemptView;
  /** The error in the cell's outputs, in one line. */
  error: string;
  /** Later attempts make it less interesting. */
  folded: boolean;
}

export const Card = memo(AttemptCard, sameCard);

function AttemptCard(props: ICardProps): JSX.Element {
  const { trans } = usePanel();
  const { attempt, error } = props;
  const { record, phase, code } = attempt;
  const [wanted, setWanted] = useState<boolean | null>(null);
  const open = wanted ?? !props.folded;
  const status = phase === 'done' ? record.status : phase;
  const word = candidateWord(record, attemptWord(status, trans), trans);
  const title = attemptName(record, trans);
  const Caret = open ? caretDownIcon : caretRightIcon;
  return (
    <div
      className="jp-codeagent-Card"
      role="group"
      data-task={props.task}
      data-attempt={record.attempt}
      data-status={record.status}
      data-candidate={isPassedOver(record) ? 'passed-over' : undefined}
      aria-label={`${title}: ${word}`}
    >
      <button
        type="button"
        className="jp-codeagent-Card-head"
        aria-expanded={open}
        onClick={() => setWanted(!open)}
      >
        <Caret.react tag="span" width="16px" aria-hidden="true" />
        <span className="jp-codeagent-Card-title">{title}</span>
        <Status
          status={isPassedOver(record) ? 'passed-over' : status}
          word={word}
        />
        {phase === 'done' && record.duration >= 0.05 && (
          <span className="jp-codeagent-Panel-quiet">
            {duration(record.duration)}
          </span>
        )}
      </button>
      {record.reason && phase === 'done' && (
        <p className="jp-codeagent-Panel-quiet">
          {oneLine(record.reason, 300)}
        </p>
      )}
      {open && (
        <>
          {record.explanation && <Markdown text={record.explanation} />}
          {code.trim() && (
            <Code
              code={code}
              label={trans.__('Code of attempt %1', record.attempt)}
              growing={phase === 'writing'}
            />
          )}
        </>
      )}
      {error && <p className="jp-codeagent-Card-error">{error}</p>}
      {open && <Notes attempt={attempt} />}
      {(open || !(record.status === 'failed' || isPassedOver(record))) && (
        <Actions {...props} />
      )}
    </div>
  );
}

function Notes(props: { attempt: IAttemptView }): JSX.Element | null {
  const { trans } = usePanel();
  const { notes, rolled_back } = props.attempt.record;
  const lines = (notes ?? []).slice(0, 10).map(note => oneLine(note, 400));
  if (rolled_back) {
    lines.push(trans.__('Rolled back: the sandbox is as before this attempt.'));
  }
  return lines.length ? (
    <ul className="jp-codeagent-Card-notes jp-codeagent-Panel-quiet">
      {lines.map((line, i) => (
        <li key={i}>{line}</li>
      ))}
    </ul>
  ) : null;
}

function Actions(props: ICardProps): JSX.Element {
  const { model, trans } = usePanel();
  const { work, attempt } = props;
  const { status } = attempt.record;
  const [busy, setBusy] = useState(false);
  const run = async (deed: () => Promise<void>) => {
    setBusy(true);
    await model.act(deed);
    setBusy(false);
  };
  const good = status === 'succeeded' || status === 'edited';
  const open = attempt.phase === 'done' && (good || status === 'failed');
  return (
    <div className="jp-codeagent-Card-actions">
      {mayChoose(attempt) && (
        <button
          type="button"
          className="jp-codeagent-Button"
          disabled={busy}
          onClick={() =>
            void run(async () => {
              const text = await work.choose(attempt);
              model.say({ kind: 'said', text });
            })
          }
        >
          {trans.__('Choose this one')}
        </button>
      )}
      {open && good && (
        <button
          type="button"
          className="jp-codeagent-Button jp-mod-accept"
          disabled={busy}
          onClick={() => void run(() => work.accept(attempt, true))}
        >
          {trans.__('Accept and run')}
        </button>
      )}
      {open && (
        <>
          <button
            type="button"
            className="jp-codeagent-Button"
            disabled={busy}
            onClick={() => void run(() => work.accept(attempt, false))}
          >
            {trans.__('Accept')}
          </button>
          <button
            type="button"
            className="jp-codeagent-Button"
            disabled={busy}
            onClick={() => void run(() => work.discard(attempt))}
          >
            {trans.__('Discard')}
          </button>
        </>
      )}
      <button
        type="button"
        className="jp-codeagent-Button jp-mod-plain"
        onClick={() => void run(() => work.goTo(attempt.cellId))}
      >
        {trans.__('Go to cell')}
      </button>
    </div>
  );
}

/** The views are made anew with each change of the notebook: what is shown decides. */
function sameCard(a: ICardProps, b: ICardProps): boolean {
  const [x, y] = [a.attempt, b.attempt];
  return (
    a.work === b.work &&
    a.task === b.task &&
    a.error === b.error &&
    a.folded === b.folded &&
    x.phase === y.phase &&
    x.code === y.code &&
    x.cellId === y.cellId &&
    x.record.status === y.record.status &&
    x.record.attempt === y.record.attempt &&
    x.record.duration === y.record.duration &&
    x.record.explanation === y.record.explanation &&
    x.record.rolled_back === y.record.rolled_back &&
    x.record.chosen === y.record.chosen &&
    x.record.reason === y.record.reason &&
    x.record.notes?.length === y.record.notes?.length
  );
}
