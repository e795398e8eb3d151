/** What is said to the user and is no part of the record: problems, errors, help, a saved notebook. */

import { closeIcon } from '@jupyterlab/ui-components';
import type { ReactNode } from 'react';

import { slashHelp } from '../offers';
import type { ISaved } from '../saving';
import { SLASH } from '../slash';
import { bounded, oneLine, visible } from '../text';
import { usePanel } from './context';

const NOTES = 20;

export function Messages(): JSX.Element {
  const { model } = usePanel();
  return (
    <>
      <Problems />
      {model.saving.current && <Saved saved={model.saving.current} />}
      <Notice />
    </>
  );
}

/** What does not work on this machine, and how to mend it. */
function Problems(): JSX.Element | null {
  const { model, trans } = usePanel();
  const { models, problems } = model;
  const missing = models && !models.default ? models.problem : '';
  const count = problems.length + (missing ? 1 : 0);
  return count ? (
    <details className="jp-codeagent-Message" data-kind="problem">
      <summary>
        {trans._n(
          '%1 thing on this machine needs attention',
          '%1 things on this machine need attention',
          count
        )}
      </summary>
      <ul>
        {missing && <li>{oneLine(missing, 500)}</li>}
        {problems.map(({ name, detail, mend }) => (
          <li key={name}>
            {oneLine(`${name}: ${detail}`, 500)}
            {mend && <code>{oneLine(mend, 500)}</code>}
          </li>
        ))}
      </ul>
    </details>
  ) : null;
}

function Notice(): JSX.Element | null {
  const { model, trans } = usePanel();
  const { notice } = model;
  if (!notice) {
    return null;
  }
  const help = slashHelp(trans);
  return (
    <Message kind={notice.kind} onClose={() => model.say(null)}>
      {notice.kind === 'help' ? (
        <dl>
          {SLASH.map(name => (
            <div key={name}>
              <dt>/{name}</dt>
              <dd>{help[name]}</dd>
            </div>
          ))}
          <div>
            <dt>@</dt>
            <dd>
              {trans.__('Attach a cell, the selection, a variable or a file')}
            </dd>
          </div>
          <div>
            <dt>↑ ↓</dt>
            <dd>{trans.__('Earlier tasks')}</dd>
          </div>
        </dl>
      ) : (
        <p>{visible(bounded(notice.text, 2000).text)}</p>
      )}
    </Message>
  );
}

function Saved(props: { saved: ISaved }): JSX.Element {
  const { model, deeds, trans } = usePanel();
  const { path, text, notes } = props.saved;
  const said = visible(bounded(text || trans.__('Saved %1.', path), 1000).text);
  return (
    <Message kind="said" onClose={() => model.saving.close()}>
      <p>{path ? said : trans.__('Saving...')}</p>
      {notes.length > 0 && (
        <ul>
          {notes.slice(0, NOTES).map((note, i) => (
            <li key={i}>{oneLine(note, 500)}</li>
          ))}
        </ul>
      )}
      {path && (
        <div className="jp-codeagent-Card-actions">
          <button
            type="button"
            className="jp-codeagent-Button"
            onClick={() => void model.act(() => deeds.open(path))}
          >
            {trans.__('Open')}
          </button>
          {model.verifiable && !model.verifying.running && (
            <button
              type="button"
              className="jp-codeagent-Button"
              onClick={() => {
                model.showVerification();
                void model.act(() => deeds.verify(path));
              }}
            >
              {trans.__('Verify')}
            </button>
          )}
        </div>
      )}
    </Message>
  );
}

function Message(props: {
  kind: string;
  onClose: () => void;
  children: ReactNode;
}): JSX.Element {
  const { trans } = usePanel();
  return (
    <div
      className="jp-codeagent-Message"
      data-kind={props.kind}
      role={props.kind === 'error' ? 'alert' : 'status'}
    >
      <div className="jp-codeagent-Message-body">{props.children}</div>
      <button
        type="button"
        className="jp-codeagent-IconButton"
        aria-label={trans.__('Close')}
        title={trans.__('Close')}
        onClick={props.onClose}
      >
        <closeIcon.react tag="span" width="14px" aria-hidden="true" />
      </button>
    </div>
  );
}
