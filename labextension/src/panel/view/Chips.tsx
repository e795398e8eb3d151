/** What is attached to the task. */

import { closeIcon } from '@jupyterlab/ui-components';

import { keyOf } from '../requests';
import { oneLine } from '../text';
import { usePanel } from './context';

export function Chips(): JSX.Element | null {
  const { model, trans } = usePanel();
  const { attachments } = model.draft;
  if (!attachments.length) {
    return null;
  }
  return (
    <ul className="jp-codeagent-Chips" aria-label={trans.__('Attached')}>
      {attachments.map(item => {
        const name = oneLine(item.name, 60);
        const label = trans.__('Remove %1', name);
        return (
          <li key={keyOf(item)} className="jp-codeagent-Chip">
            <span>{name}</span>
            <button
              type="button"
              className="jp-codeagent-IconButton"
              aria-label={label}
              title={label}
              onClick={() => {
                model.detach(item);
                model.requestFocus();
              }}
            >
              <closeIcon.react tag="span" width="12px" aria-hidden="true" />
            </button>
          </li>
        );
      })}
    </ul>
  );
}
