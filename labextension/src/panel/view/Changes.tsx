/** The files that the sandbox has changed: what is new in each, and which are taken over. */

import {
  caretDownIcon,
  caretRightIcon,
  closeIcon,
  errorIcon
} from '@jupyterlab/ui-components';
import { memo, useEffect, useRef, useState } from 'react';

import type { INotebookWork } from '../../tokens';
import { type IFileChange, lineCounts, mayApply } from '../changes';
import { bytes, middleCut, oneLine, visible } from '../text';
import { usePanel } from './context';

const LINES = 400; // lines of a diff that are shown without being asked for

/** The line that says that there are some. */
export function ChangesButton(): JSX.Element | null {
  const { model, trans } = usePanel();
  const { changes } = model;
  const count = changes.files.length;
  return count > 0 && !changes.open ? (
    <button
      type="button"
      className="jp-codeagent-ChangesButton"
      onClick={() => model.showChanges()}
    >
      <caretRightIcon.react tag="span" width="14px" aria-hidden="true" />
      {trans._n(
        '%1 file changed in the sandbox',
        '%1 files changed in the sandbox',
        count
      )}
    </button>
  ) : null;
}

export function Changes(props: { work: INotebookWork }): JSX.Element {
  const { model, trans } = usePanel();
  const { changes } = model;
  const plain = changes.files.filter(file => !file.runsByItself);
  const apart = changes.files.filter(file => file.runsByItself);
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => head.current?.focus(), []);
  return (
    <section
      className="jp-codeagent-Changes"
      aria-label={trans.__('Changed files')}
    >
      <div className="jp-codeagent-Changes-head">
        <h2 ref={head} tabIndex={-1}>
          {trans.__('Changed files')}
        </h2>
        <button
          type="button"
          className="jp-codeagent-IconButton"
          aria-label={trans.__('Back to the tasks')}
          title={trans.__('Back to the tasks')}
          onClick={() => {
            changes.show(false);
            model.requestFocus();
          }}
        >
          <closeIcon.react tag="span" width="14px" aria-hidden="true" />
        </button>
      </div>
      <div className="jp-codeagent-Changes-list">
        <p className="jp-codeagent-Panel-quiet">
          {changes.files.length
            ? trans.__(
                'The sandbox works on a copy of your folder. What you apply is written into the folder itself.'
              )
            : changes.known
              ? trans.__('The sandbox has changed no file of your folder.')
              : trans.__('What the sandbox has changed is not known yet.')}
        </p>
        {changes.note && <p>{oneLine(changes.note, 400)}</p>}
        <Files files={plain} label={trans.__('Files')} />
        {apart.length > 0 && (
          <>
            <h3>{trans.__('These run by themselves')}</h3>
            <p className="jp-codeagent-Panel-quiet">
              {trans.__(
                'Programs read or execute them without being asked. They are applied only where you select them.'
              )}
            </p>
            <Files
              files={apart}
              label={trans.__('Files that run by themselves')}
            />
          </>
        )}
      </div>
      <Foot work={props.work} />
    </section>
  );
}

function Files(props: { files: IFileChange[]; label: string }): JSX.Element {
  return (
    <ul aria-label={props.label}>
      {props.files.map(file => (
        <File key={file.path} file={file} />
      ))}
    </ul>
  );
}

function File(props: { file: IFileChange }): JSX.Element {
  const { model, trans } = usePanel();
  const { file } = props;
  const [open, setOpen] = useState(false);
  const Caret = open ? caretDownIcon : caretRightIcon;
  const name = visible(middleCut(file.path.replace(/[\n\t]/g, ' '), 300));
  return (
    <li
      className="jp-codeagent-File"
      data-path={file.path}
      data-kind={file.kind}
    >
      <div className="jp-codeagent-File-head">
        <input
          type="checkbox"
          aria-label={trans.__('Apply %1', name)}
          checked={model.changes.isSelected(file)}
          disabled={!mayApply(file) || model.changes.busy}
          onChange={event => model.changes.select(file, event.target.checked)}
        />
        <button
          type="button"
          className="jp-codeagent-File-name"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
        >
          <Caret.react tag="span" width="14px" aria-hidden="true" />
          <bdi>{name}</bdi>
        </button>
        <span className="jp-codeagent-Panel-quiet">{useFacts(file)}</span>
      </div>
      {file.conflict && <Warning text={file.conflict} />}
      {file.runsByItself && <Warning text={file.runsByItself} />}
      {open && <Diff name={name} text={file.diff} />}
    </li>
  );
}

function useFacts(file: IFileChange): string {
  const { trans } = usePanel();
  const kinds: Record<IFileChange['kind'], string> = {
    added: trans.__('new'),
    changed: trans.__('changed'),
    deleted: trans.__('deleted'),
    special: file.special
      ? trans.__('%1, cannot be applied', oneLine(file.special, 60))
      : trans.__('no ordinary file, cannot be applied')
  };
  const { added, removed } = lineCounts(file.diff);
  return [
    kinds[file.kind],
    added + removed > 0 && `+${added} \u2212${removed}`,
    file.kind !== 'deleted' && file.size > 0 && bytes(file.size)
  ]
    .filter(fact => fact)
    .join(' · ');
}

function Warning(props: { text: string }): JSX.Element {
  return (
    <p className="jp-codeagent-File-warning">
      <errorIcon.react tag="span" width="14px" aria-hidden="true" />
      <span>{oneLine(props.text, 400)}</span>
    </p>
  );
}

const Diff = memo(function Diff(props: {
  name: string;
  text: string;
}): JSX.Element {
  const { trans } = usePanel();
  const [all, setAll] = useState(false);
  const lines = visible(props.text).replace(/\n$/, '').split('\n');
  const shown = all ? lines : lines.slice(0, LINES);
  const left = lines.length - shown.length;
  return (
    <>
      <pre
        className="jp-codeagent-Diff"
        tabIndex={0}
        aria-label={trans.__('Changes of %1', props.name)}
      >
        {shown.map((line, i) => (
          <span key={i} data-sign={signOf(line, i)} dir="ltr">
            {line || ' '}
          </span>
        ))}
      </pre>
      {left > 0 && (
        <button
          type="button"
          className="jp-codeagent-Link"
          onClick={() => setAll(true)}
        >
          {trans._n('Show %1 more line', 'Show %1 more lines', left)}
        </button>
      )}
    </>
  );
});

function signOf(line: string, index: number): string {
  const names = index < 2 && /^(--- |\+\+\+ )/.test(line);
  if (names || line.startsWith('@@')) {
    return 'place';
  }
  return { '+': 'added', '-': 'removed' }[line[0]] ?? 'same';
}

function Foot(props: { work: INotebookWork }): JSX.Element {
  const { model, trans } = usePanel();
  const { changes } = model;
  const { work } = props;
  const count = changes.selected.length;
  return (
    <div className="jp-codeagent-Changes-foot">
      <div role="status">
        {changes.applied && (
          <>
            <p>{oneLine(changes.applied.text, 400)}</p>
            <ul>
              {changes.applied.refused.map(({ path, reason }) => (
                <li key={path}>
                  <bdi>{oneLine(path, 200)}</bdi>: {oneLine(reason, 400)}
                </li>
              ))}
            </ul>
          </>
        )}
      </div>
      <div className="jp-codeagent-Card-actions">
        <button
          type="button"
          className="jp-codeagent-Button jp-mod-accept"
          disabled={changes.busy || count === 0}
          onClick={() => void model.act(() => changes.apply(work))}
        >
          {trans.__('Apply selected (%1)', count)}
        </button>
        {changes.undoable && (
          <button
            type="button"
            className="jp-codeagent-Button"
            disabled={changes.busy}
            onClick={() => void model.act(() => changes.undo(work))}
          >
            {trans.__('Undo apply')}
          </button>
        )}
      </div>
    </div>
  );
}
