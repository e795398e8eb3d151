/** Notebooks and records for the tests. */

import { YNotebook } from '@jupyter/ydoc';

import type { IAttemptRecord, ITaskRecord } from '../src/tokens';

const NO_TOKENS = { input: 0, output: 0, cache_read: 0 };

export function attempt(
  number: number,
  more: Partial<IAttemptRecord> = {}
): IAttemptRecord {
  return {
    version: 1,
    role: 'attempt',
    task: 'task1',
    attempt: number,
    status: 'running',
    model: 'scripted',
    duration: 0,
    tokens: NO_TOKENS,
    tier: 'A',
    rolled_back: false,
    hash: '',
    ...more
  };
}

export function task(more: Partial<ITaskRecord> = {}): ITaskRecord {
  return {
    version: 1,
    role: 'task',
    task: 'task1',
    status: 'running',
    limit: 5,
    model: 'scripted',
    tier: 'A',
    told: '',
    background: false,
    answer: '',
    reason: '',
    tokens: NO_TOKENS,
    cost: null,
    duration: 0,
    hash: '',
    ...more
  };
}

/** Return a notebook with an agent cell and one below, as JupyterLab makes it. */
export function notebook(documentWideUndo = false): YNotebook {
  const made = YNotebook.create({
    disableDocumentWideUndoRedo: !documentWideUndo
  });
  made.insertCells(0, [
    { id: 'agent', cell_type: 'code', source: '%%agent\nsum it up' },
    { id: 'below', cell_type: 'code', source: 'x = 1' }
  ]);
  made.undoManager.clear();
  return made;
}

export function sources(made: YNotebook): string[] {
  return made.cells.map(cell => cell.getSource());
}
