/** What the notebook's cells and the kernel together say of the tasks, for whoever shows it. */

import type { IEntry } from './cellIndex';
import type { Keeper } from './keeper';
import { unfinished } from './records';
import type { ITaskState } from './store';
import type { IAttemptView, ITaskRecord, ITaskView, Phase } from './tokens';

/** Return the tasks of the notebook in its order. */
export function taskViews(keeper: Keeper): ITaskView[] {
  const { entries } = keeper.index;
  const byTask = new Map<string, IAttemptView[]>();
  const firstCells = new Map<string, string>();
  for (const entry of entries) {
    const view = attemptView(keeper, entry);
    if (view) {
      const { task } = view.record;
      const attempts = byTask.get(task) ?? [];
      byTask.set(task, attempts);
      firstCells.set(task, firstCells.get(task) ?? entry.id);
      if (!attempts.some(a => a.record.attempt === view.record.attempt)) {
        attempts.push(view);
      }
    }
  }
  const views: ITaskView[] = [];
  for (const entry of entries) {
    if (entry.text !== null) {
      const view = agentCellView(keeper, entry, entry.text, byTask);
      byTask.delete(view.id);
      views.push(view);
    }
  }
  // Attempts whose agent cell was deleted, or was run anew since.
  for (const [id, attempts] of byTask) {
    const cellId = firstCells.get(id) ?? '';
    views.push({ id, cellId, text: '', record: null, attempts, missing: 0 });
  }
  return views;
}

/** Return the attempt that a cell holds, or null. */
export function attemptView(
  keeper: Keeper,
  entry: IEntry
): IAttemptView | null {
  const { attempt: record, code, edited, id: cellId } = entry;
  if (!record) {
    return null;
  }
  return { record, phase: phaseOf(keeper, entry), code, edited, cellId };
}

/** Whether the user still has to say what becomes of the attempt. */
export function isPending(attempt: IAttemptView): boolean {
  return (
    attempt.record.role === 'attempt' && attempt.record.status !== 'running'
  );
}

function agentCellView(
  keeper: Keeper,
  entry: IEntry,
  text: string,
  byTask: ReadonlyMap<string, IAttemptView[]>
): ITaskView {
  const live = keeper.liveTask(entry.id);
  const record = newest(entry.task, live);
  const id = record?.task ?? live?.id ?? '';
  return {
    id,
    cellId: entry.id,
    text,
    record,
    attempts: byTask.get(id) ?? [],
    missing: id ? keeper.missing(id).length : 0
  };
}

/** Return the record of the cell, or of the kernel where this page does not write the cell. */
function newest(
  written: ITaskRecord | null,
  live: ITaskState | null
): ITaskRecord | null {
  if (!live?.record || written?.task === live.id) {
    return written;
  }
  return written && !unfinished(live.record) ? written : live.record;
}

function phaseOf(keeper: Keeper, { attempt }: IEntry): Phase {
  if (attempt?.status !== 'running') {
    return 'done';
  }
  const live = keeper.channel.store.tasks
    .get(attempt.task)
    ?.attempts.get(attempt.attempt);
  return live?.phase ?? 'running';
}
