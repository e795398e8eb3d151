/** How something stands: an icon and a word, never the colour alone. */

import {
  checkIcon,
  circleEmptyIcon,
  closeIcon,
  editIcon,
  type LabIcon,
  stopIcon
} from '@jupyterlab/ui-components';

const ICONS = new Map<string, LabIcon>([
  ['solved', checkIcon],
  ['succeeded', checkIcon],
  ['accepted', checkIcon],
  ['verified', checkIcon],
  ['failed', closeIcon],
  ['discarded', closeIcon],
  ['edited', editIcon],
  ['stopped', stopIcon],
  ['passed-over', circleEmptyIcon],
  ['queued', circleEmptyIcon]
]);

export function Status(props: { status: string; word: string }): JSX.Element {
  const { status, word } = props;
  const Icon = ICONS.get(status);
  return (
    <span className="jp-codeagent-Status" data-status={status}>
      {['running', 'writing'].includes(status) ? (
        <span className="jp-codeagent-Spinner" aria-hidden="true" />
      ) : (
        Icon && <Icon.react tag="span" width="14px" aria-hidden="true" />
      )}
      <span>{word}</span>
    </span>
  );
}
