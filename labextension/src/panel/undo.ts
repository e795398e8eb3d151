/** Taking back the last Accept or Discard: the notebook's own undo, where only that is taken back. */

import type { ISharedNotebook } from '@jupyter/ydoc';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';

import { attemptIn } from '../attempts';

/** Running an accepted cell leaves steps of its own, which change no code. */
const STEPS = 5;

/** Take the last Accept or Discard back if no code was changed since, else leave all as it is. Returns what was done. */
export function undoReview(
  panel: NotebookPanel,
  trans: TranslationBundle
): string {
  const notebook = panel.content.model?.sharedModel;
  const back = notebook ? stepBack(notebook) : [];
  if (back.length) {
    return trans.__(
      'Back for review: %1. What was run in your kernel stays.',
      back.join(', ')
    );
  }
  throw new Error(
    trans.__(
      'The last change of this notebook was no Accept or Discard; Edit > Undo Cell Operation takes back others.'
    )
  );
}

/** Return the names of the attempts that are back; none where nothing was changed. */
function stepBack(notebook: ISharedNotebook): string[] {
  const attempts = openAttempts(notebook);
  const code = codeIn(notebook);
  let steps = 0;
  while (steps < STEPS && codeIn(notebook) === code && notebook.canUndo()) {
    notebook.undo();
    steps += 1;
    const back = openAttempts(notebook).filter(
      name => !attempts.includes(name)
    );
    if (back.length) {
      return back;
    }
  }
  for (; steps > 0; steps -= 1) {
    notebook.redo();
  }
  return [];
}

/** Return the names of the attempts that stand as such in the notebook. */
function openAttempts(notebook: ISharedNotebook): string[] {
  return notebook.cells.flatMap(cell => {
    const record = attemptIn(cell);
    return record?.role === 'attempt'
      ? [`${record.task}.${record.attempt}`]
      : [];
  });
}

/** Return the notebook's cells and their code as one text, to be compared. */
function codeIn(notebook: ISharedNotebook): string {
  return JSON.stringify(
    notebook.cells.map(cell => [cell.id, cell.getSource()])
  );
}
