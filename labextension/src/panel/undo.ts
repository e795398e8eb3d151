/** Taking back the last Accept or Discard: the notebook's own undo, where that step is the last one. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';

import { KEY } from '../tokens';
import { record } from '../values';

/** Take the last step in the notebook back if it was an Accept or a Discard, else leave all as it is. Returns what was done. */
export function undoReview(
  panel: NotebookPanel,
  trans: TranslationBundle
): string {
  const shared = panel.content.model?.sharedModel;
  const before = openAttempts(panel);
  if (shared?.canUndo()) {
    shared.undo();
    const back = [...openAttempts(panel)].filter(name => !before.has(name));
    if (back.length) {
      return trans.__(
        'Back for review: %1. What was run in your kernel stays.',
        back.join(', ')
      );
    }
    shared.redo();
  }
  throw new Error(
    trans.__(
      'The last change of this notebook was no Accept or Discard; Edit > Undo Cell Operation takes back others.'
    )
  );
}

/** Return the names of the attempts that stand as such in the notebook. */
function openAttempts(panel: NotebookPanel): Set<string> {
  const names = new Set<string>();
  for (const cell of panel.content.model?.sharedModel.cells ?? []) {
    const { role, task, attempt } = record(cell.getMetadata(KEY));
    if (role === 'attempt') {
      names.add(`${String(task)}.${String(attempt)}`);
    }
  }
  return names;
}
