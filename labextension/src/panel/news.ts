/** What is said aloud when the work goes on: the changes that a user waits for, not each token. */

import type { TranslationBundle } from '@jupyterlab/translation';

import type { ITaskView } from '../tokens';
import { attemptWord, taskWord } from './words';

/** How each task and attempt stood, by its id. */
export type Standing = ReadonlyMap<string, string>;

export function standingOf(tasks: readonly ITaskView[]): Standing {
  const standing = new Map<string, string>();
  for (const task of tasks) {
    standing.set(task.cellId, task.record?.status ?? '');
    for (const { record, phase } of task.attempts) {
      standing.set(
        `${task.cellId} ${record.attempt}`,
        phase === 'done' ? record.status : phase
      );
    }
  }
  return standing;
}

/** Return what is new since `before`, as sentences. */
export function news(
  before: Standing,
  now: Standing,
  trans: TranslationBundle
): string[] {
  const told: string[] = [];
  for (const [key, status] of now) {
    if (status === before.get(key) || !status) {
      continue;
    }
    const attempt = key.split(' ')[1];
    if (attempt === undefined) {
      told.push(trans.__('Task %1.', taskWord(status, trans)));
    } else if (!['writing', 'running'].includes(status)) {
      told.push(
        trans.__('Attempt %1 %2.', attempt, attemptWord(status, trans))
      );
    }
  }
  return told;
}
