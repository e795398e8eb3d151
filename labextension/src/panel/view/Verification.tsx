/** A verification: how far it is, and where the fresh run is not what the file holds. */

import { caretRightIcon, closeIcon, stopIcon } from '@jupyterlab/ui-components';
import { useEffect, useRef } from 'react';

import type { INotebookWork } from '../../tokens';
import type { IReport } from '../report';
import { bounded, duration, oneLine, visible } from '../text';
import type { IVerified } from '../verifying';
import { usePanel } from './context';
import { Difference } from './Difference';
import { Status } from './Status';

/** Differences that are shown: the first ones say what is wrong. */
const DIFFERENCES = 50;
const SENTENCES = 50;

/** The line that says how a verification stands that the user does not look at. */
export function VerificationButton(): JSX.Element | null {
  const { model, trans } = usePanel();
  const { current, open, running } = model.verifying;
  const { status, word } = useStanding(current);
  return current && !open ? (
    <div className="jp-codeagent-VerificationLine">
      <button
        type="button"
        className="jp-codeagent-ChangesButton"
        onClick={() => model.showVerification()}
      >
        <caretRightIcon.react tag="span" width="14px" aria-hidden="true" />
        <bdi>{oneLine(current.path.split('/').pop() ?? '', 60)}</bdi>
        <Status status={status} word={word} />
      </button>
      {!running && (
        <button
          type="button"
          className="jp-codeagent-IconButton"
          aria-label={trans.__('Put the verification away')}
          title={trans.__('Put the verification away')}
          onClick={() => {
            model.verifying.close();
            model.requestFocus();
          }}
        >
          <closeIcon.react tag="span" width="14px" aria-hidden="true" />
        </button>
      )}
    </div>
  ) : null;
}

export function Verification(props: { work: INotebookWork }): JSX.Element {
  const { model, trans } = usePanel();
  const { current, shown } = model.verifying;
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => head.current?.focus(), [shown]);
  return (
    <section
      className="jp-codeagent-Changes"
      aria-label={trans.__('Verification')}
    >
      <div className="jp-codeagent-Changes-head">
        <h2 ref={head} tabIndex={-1}>
          {trans.__('Verification')}
        </h2>
        <button
          type="button"
          className="jp-codeagent-IconButton"
          aria-label={trans.__('Back to the tasks')}
          title={trans.__('Back to the tasks')}
          onClick={() => {
            model.verifying.show(false);
            model.requestFocus();
          }}
        >
          <closeIcon.react tag="span" width="14px" aria-hidden="true" />
        </button>
      </div>
      <div className="jp-codeagent-Changes-list" tabIndex={-1}>
        {current ? (
          <>
            <Verdict verified={current} />
            {current.report && (
              <Findings
                work={props.work}
                verified={current}
                report={current.report}
              />
            )}
          </>
        ) : (
          <p className="jp-codeagent-Panel-quiet">
            {trans.__('Nothing has been verified.')}
          </p>
        )}
      </div>
      <Foot work={props.work} />
    </section>
  );
}

function Verdict(props: { verified: IVerified }): JSX.Element {
  const { trans } = usePanel();
  const { path, state, done, total, text, report, unstamped } = props.verified;
  const { status, word } = useStanding(props.verified);
  const facts = report && [
    trans._n('%1 cell executed', '%1 cells executed', report.executed),
    duration(report.duration),
    report.tier && trans.__('tier %1', oneLine(report.tier, 4))
  ];
  return (
    <div className="jp-codeagent-Verdict" data-status={status}>
      <bdi>{visible(bounded(path, 300).text)}</bdi>
      <Status status={status} word={word} />
      {state === 'running' && (
        <progress
          aria-label={trans.__('Verification')}
          {...(total > 0 && { value: done, max: total })}
        />
      )}
      {facts && (
        <span className="jp-codeagent-Panel-quiet">
          {facts.filter(fact => fact).join(' · ')}
        </span>
      )}
      {state === 'failed' && <p>{visible(bounded(text, 1000).text)}</p>}
      {unstamped && <p>{oneLine(unstamped, 500)}</p>}
      {/* what a user waits for who cannot see it; each cell would be too much */}
      <span className="jp-codeagent-Hidden" role="status" aria-live="polite">
        {state === 'running' ? '' : `${word}. ${unstamped}`}
      </span>
    </div>
  );
}

/** Return how a verification stands, for the icon and in words. */
function useStanding(verified: IVerified | null): {
  status: string;
  word: string;
} {
  const { trans } = usePanel();
  switch (verified?.state) {
    case 'done': {
      const { ok, differences, executed } = verified.report!;
      if (ok) {
        return { status: 'verified', word: trans.__('Verified') };
      }
      return {
        status: 'failed',
        word: executed
          ? trans._n(
              'Not reproducible: %1 difference',
              'Not reproducible: %1 differences',
              differences.length
            )
          : trans.__('Not verified: nothing was executed')
      };
    }
    case 'failed':
      return { status: 'failed', word: trans.__('Could not be verified') };
    case 'stopped':
      return { status: 'stopped', word: trans.__('Stopped') };
    default: {
      const { done = 0, total = 0 } = verified ?? {};
      return {
        status: 'running',
        word: total
          ? trans.__('Cell %1 of %2', Math.min(done + 1, total), total)
          : trans.__('A fresh sandbox is made ready')
      };
    }
  }
}

function Findings(props: {
  work: INotebookWork;
  verified: IVerified;
  report: IReport;
}): JSX.Element {
  const { trans } = usePanel();
  const { work, verified, report } = props;
  const { differences, inputs, risks, notes } = report;
  const left = differences.length - DIFFERENCES;
  const isOpen = work.panel.context.localPath === verified.path;
  const states = new Map([
    ['changed', trans.__('changed since it was recorded')],
    ['missing', trans.__('missing')]
  ]);
  return (
    <>
      {differences.length > 0 && (
        <section aria-label={trans.__('Differences')}>
          <h3>{trans.__('Differences')}</h3>
          <ul>
            {differences.slice(0, DIFFERENCES).map((difference, i) => (
              <Difference
                key={i}
                difference={difference}
                onGo={goTo(work, isOpen, verified.cells[difference.cell - 1])}
              />
            ))}
          </ul>
          {left > 0 && (
            <p className="jp-codeagent-Panel-quiet">
              {trans._n(
                '%1 more difference is not shown.',
                '%1 more differences are not shown.',
                left
              )}
            </p>
          )}
        </section>
      )}
      <Sentences
        title={trans.__('Input files')}
        sentences={inputs.map(
          ({ name, state }) => `${name}: ${states.get(state) ?? state}`
        )}
      />
      <Sentences
        title={trans.__('What may differ another time')}
        sentences={risks}
      />
      <Sentences title={trans.__('Notes')} sentences={notes} />
    </>
  );
}

function goTo(
  work: INotebookWork,
  isOpen: boolean,
  id: string | undefined
): (() => void) | null {
  return isOpen && id ? () => void work.goTo(id) : null;
}

function Sentences(props: {
  title: string;
  sentences: string[];
}): JSX.Element | null {
  return props.sentences.length ? (
    <section aria-label={props.title}>
      <h3>{props.title}</h3>
      <ul className="jp-codeagent-Sentences">
        {props.sentences.slice(0, SENTENCES).map((sentence, i) => (
          <li key={i}>{oneLine(sentence, 500)}</li>
        ))}
      </ul>
    </section>
  ) : null;
}

function Foot(props: { work: INotebookWork }): JSX.Element {
  const { model, deeds, trans } = usePanel();
  const { verifying } = model;
  const { current, running } = verifying;
  const path = current?.path ?? props.work.panel.context.localPath;
  const isOther = path !== props.work.panel.context.localPath;
  return (
    <div className="jp-codeagent-Changes-foot">
      <div className="jp-codeagent-Card-actions">
        {running ? (
          <button
            type="button"
            className="jp-codeagent-Button"
            onClick={() => void model.act(() => verifying.stop())}
          >
            <stopIcon.react tag="span" width="12px" aria-hidden="true" />
            {trans.__('Stop')}
          </button>
        ) : (
          <button
            type="button"
            className="jp-codeagent-Button"
            onClick={() => void model.act(() => deeds.verify(path))}
          >
            {current ? trans.__('Verify again') : trans.__('Verify')}
          </button>
        )}
        {isOther && (
          <button
            type="button"
            className="jp-codeagent-Button"
            onClick={() => void model.act(() => deeds.open(path))}
          >
            {trans.__('Open')}
          </button>
        )}
      </div>
    </div>
  );
}
