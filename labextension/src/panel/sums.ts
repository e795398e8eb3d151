/** What tasks took, and how they stand, in numbers. */

import type { ITaskView } from '../tokens';
import { number, record } from '../values';

export interface ISum {
  tokens: number;
  /** US dollars; null where no price is known. */
  cost: number | null;
  seconds: number;
}

/** Return what the tasks took together. */
export function sumOf(tasks: readonly ITaskView[]): ISum {
  const sum: ISum = { tokens: 0, cost: null, seconds: 0 };
  for (const task of tasks) {
    if (task.record) {
      const { cost, duration, tokens } = task.record;
      sum.tokens += tokensOf(tokens);
      sum.seconds += Math.max(0, number(duration));
      if (typeof cost === 'number' && Number.isFinite(cost)) {
        sum.cost = (sum.cost ?? 0) + cost;
      }
    }
  }
  return sum;
}

/** Return all tokens of a record, read and written; of a record that is not as it should be, what can be read. */
export function tokensOf(tokens: unknown): number {
  const { input, output, cache_read } = record(tokens);
  return [input, output, cache_read].reduce<number>(
    (sum, part) => sum + Math.max(0, number(part)),
    0
  );
}
