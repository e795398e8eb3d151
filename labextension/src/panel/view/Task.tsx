/** One task: what the user wrote, the attempts at it, the answer, what it took. */

import { useState } from 'react';

import {
  grouped,
  isCandidate,
  isDecided,
  isPassedOver,
  roundOf,
  waits
} from '../../candidates';
import type {
  IAttemptRecord,
  IAttemptView,
  INotebookWork,
  ITaskView
} from '../../tokens';
import { withoutQuotes } from '../compose';
import { sumOf } from '../sums';
import { bounded, dollars, duration, oneLine, visible } from '../text';
import { taskWord } from '../words';
import { Card } from './Card';
import { usePanel } from './context';
import { Markdown } from './Markdown';
import { Status } from './Status';

const ATTEMPTS = 10; // cards of one task that are shown without being asked for
const WORDS = 600; // characters of a task that are shown without being asked for
const MOST = 20_000;

export interface ITaskProps {
  work: INotebookWork;
  task: ITaskView;
  /** The error in the outputs of a cell, in one line. */
  errorOf: (cellId: string) => string;
}

export function Task(props: ITaskProps): JSX.Element {
  const { trans } = usePanel();
  const { work, task } = props;
  const { record } = task;
  return (
    <article
      className="jp-codeagent-Task"
      data-task={task.id}
      data-status={record?.status}
      aria-label={trans.__('Task: %1', oneLine(task.text, 80))}
    >
      <Words text={task.text} onGo={() => void work.goTo(task.cellId)} />
      {record?.told && (
        <details className="jp-codeagent-Panel-quiet">
          <summary>{trans.__('What left this machine')}</summary>
          <p>{visible(bounded(record.told, 2000).text)}</p>
        </details>
      )}
      <Attempts {...props} />
      {task.missing > 0 && <Missing {...props} />}
      {record?.answer && (
        <div className="jp-codeagent-Answer">
          <Markdown text={record.answer} />
        </div>
      )}
      {record?.reason && record.status !== 'solved' && (
        <p className="jp-codeagent-Task-reason">
          {visible(bounded(record.reason, 2000).text)}
        </p>
      )}
      <Foot {...props} />
    </article>
  );
}

/** What the user wrote; what was attached only when it is asked for. */
function Words(props: { text: string; onGo: () => void }): JSX.Element {
  const { trans } = usePanel();
  const [whole, setWhole] = useState(false);
  const all = bounded(props.text.trim(), MOST).text;
  const words = bounded(withoutQuotes(all) || all, WORDS).text;
  return (
    <div className="jp-codeagent-Task-words">
      <p>
        {all
          ? visible(whole ? all : words)
          : trans.__(
              'The agent cell of these attempts is not in this notebook.'
            )}
      </p>
      <div>
        {words.length < props.text.trim().length && (
          <button
            type="button"
            className="jp-codeagent-Link"
            aria-expanded={whole}
            onClick={() => setWhole(!whole)}
          >
            {whole ? trans.__('Show less') : trans.__('Show all that was sent')}
          </button>
        )}
        <button
          type="button"
          className="jp-codeagent-Link"
          onClick={props.onGo}
        >
          {trans.__('Go to cell')}
        </button>
      </div>
    </div>
  );
}

function Attempts(props: ITaskProps): JSX.Element {
  const { trans } = usePanel();
  const { work, task } = props;
  const [all, setAll] = useState(false);
  const { attempts } = task;
  const hidden = all ? 0 : Math.max(0, attempts.length - ATTEMPTS);
  const last = attempts[attempts.length - 1];
  const card = (attempt: IAttemptView) => (
    <Card
      key={attempt.cellId || attempt.record.attempt}
      work={work}
      task={task.id}
      attempt={attempt}
      error={attempt.phase === 'done' ? props.errorOf(attempt.cellId) : ''}
      folded={
        attempt.record.status === 'accepted' ||
        isPassedOver(attempt.record) ||
        (attempt.record.status === 'failed' &&
          attempt !== last &&
          isDecidedOrAlone(attempt.record))
      }
    />
  );
  return (
    <>
      {hidden > 0 && (
        <button
          type="button"
          className="jp-codeagent-Link"
          onClick={() => setAll(true)}
        >
          {trans._n(
            'Show %1 earlier attempt',
            'Show %1 earlier attempts',
            hidden
          )}
        </button>
      )}
      {grouped(attempts.slice(hidden)).map(group =>
        group.length > 1 ? (
          <div
            key={roundOf(group[0].record)}
            className="jp-codeagent-Candidates"
            role="group"
            aria-label={trans.__('Candidates')}
          >
            {group.map(card)}
          </div>
        ) : (
          card(group[0])
        )
      )}
    </>
  );
}

/** Whether nothing more is to be said of how the attempt ended. */
function isDecidedOrAlone(record: IAttemptRecord): boolean {
  return !isCandidate(record) || isDecided(record);
}

function Missing(props: ITaskProps): JSX.Element {
  const { model, trans } = usePanel();
  const { work, task } = props;
  return (
    <p className="jp-codeagent-Panel-quiet">
      {trans._n(
        '%1 attempt is not in this notebook.',
        '%1 attempts are not in this notebook.',
        task.missing
      )}{' '}
      <button
        type="button"
        className="jp-codeagent-Link"
        onClick={() => void model.act(() => work.showMissing(task))}
      >
        {trans.__('Show them')}
      </button>
    </p>
  );
}

function Foot(props: ITaskProps): JSX.Element | null {
  const { model, trans } = usePanel();
  const { work, task } = props;
  const { record } = task;
  if (!record) {
    return null;
  }
  const waiting = record.status === 'queued' || record.status === 'running';
  const open = task.attempts.filter(
    attempt => waits(attempt) && attempt.record.status !== 'failed'
  ).length;
  return (
    <div className="jp-codeagent-Task-foot">
      <Status status={record.status} word={taskWord(record.status, trans)} />
      <span className="jp-codeagent-Panel-quiet">{useFacts(task)}</span>
      {waiting && (
        <button
          type="button"
          className="jp-codeagent-Link"
          onClick={() => void model.act(() => work.stop(task))}
        >
          {trans.__('Stop')}
        </button>
      )}
      {!waiting && open > 1 && (
        <span className="jp-codeagent-Task-all">
          <button
            type="button"
            className="jp-codeagent-Button"
            onClick={() => void model.act(() => work.acceptAll(task))}
          >
            {trans.__('Accept all')}
          </button>
          <button
            type="button"
            className="jp-codeagent-Button"
            onClick={() => void model.act(() => work.discardAll(task))}
          >
            {trans.__('Discard all')}
          </button>
        </span>
      )}
    </div>
  );
}

function useFacts(task: ITaskView): string {
  const { model, trans } = usePanel();
  const record = task.record!;
  const sum = sumOf([task]);
  return [
    oneLine(record.model, 60),
    record.tier && trans.__('tier %1', oneLine(record.tier, 4)),
    model.costs && sum.tokens > 0 && tokensText(sum.tokens, trans),
    model.costs && sum.cost !== null && dollars(sum.cost),
    sum.seconds > 0 && duration(sum.seconds)
  ]
    .filter(part => part)
    .join(' · ');
}

export function tokensText(
  tokens: number,
  trans: ReturnType<typeof usePanel>['trans']
): string {
  return trans._n('%2 token', '%2 tokens', tokens, tokens.toLocaleString());
}
