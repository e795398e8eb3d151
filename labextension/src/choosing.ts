/** Which candidate of each round is chosen: the kernel is told what the user, or undo, made of it. */

import type { ISharedCodeCell } from '@jupyter/ydoc';

import { setCollapsed } from './attempts';
import { isCandidate, roundOf } from './candidates';
import type { CellIndex, IEntry } from './cellIndex';
import type { KernelChannel } from './channel';
import type { IAttemptState } from './store';
import type { IAttemptRecord, IReply } from './tokens';

export class Choosing {
  /** @param write - Brings a cell to what the kernel says of it. */
  constructor(
    private readonly _index: CellIndex,
    private readonly _channel: KernelChannel,
    private readonly _write: (
      cell: ISharedCodeCell,
      attempt: IAttemptState
    ) => void
  ) {}

  /** Whether the kernel is being asked about the attempt's round, so that its cells wait. */
  asking(record: IAttemptRecord): boolean {
    return this._asked.has(roundOf(record));
  }

  /** Ask the kernel to go on from this candidate. */
  async choose(record: IAttemptRecord): Promise<IReply> {
    return this.asking(record) ? { ok: true, text: '' } : this._ask(record);
  }

  /** Return how the cells of a round stand after the kernel agreed to go on from this candidate. */
  outcome(record: IAttemptRecord): Map<ISharedCodeCell, IAttemptRecord> {
    const cells = new Map<ISharedCodeCell, IAttemptRecord>();
    for (const entry of this._round(roundOf(record))) {
      const now = this._known(entry)?.record ?? entry.attempt;
      const chosen = now.attempt === record.attempt;
      cells.set(entry.model.sharedModel, {
        ...now,
        role: 'attempt',
        chosen,
        rolled_back: !chosen
      });
    }
    return cells;
  }

  /** Show this candidate whole, and the others of its round as one line. */
  fold(record: IAttemptRecord): void {
    for (const { attempt, model } of this._round(roundOf(record))) {
      setCollapsed(model.sharedModel, attempt.attempt !== record.attempt);
    }
  }

  /** Take the choices that stand in the cells as told. */
  remember(): void {
    for (const { attempt } of this._index.entries) {
      if (attempt?.chosen) {
        this._told.set(roundOf(attempt), attempt.attempt);
      }
    }
  }

  /** Tell the kernel of the choices that are others since the last time. */
  tellChanges(): void {
    const now = this._index.entries.filter(entry => entry.attempt?.chosen);
    for (const entry of now) {
      const { attempt } = entry;
      const told = attempt && this._told.get(roundOf(attempt));
      // A choice that this page has not seen change is the notebook's word only.
      if (!attempt || told === undefined || told === attempt.attempt) {
        continue;
      }
      this.fold(attempt);
      const known = this._known(entry);
      // What it answers is not known yet where it is being asked: an undo and its redo are both told, in order.
      if (known && (known.record.chosen === false || this.asking(attempt))) {
        void this._tell(attempt);
      }
    }
    this.remember();
  }

  private async _ask(record: IAttemptRecord): Promise<IReply> {
    const { task, attempt } = record;
    const round = roundOf(record);
    this._asked.set(round, (this._asked.get(round) ?? 0) + 1);
    try {
      return await this._channel.request('choose', { task, attempt });
    } finally {
      const left = (this._asked.get(round) ?? 1) - 1;
      if (left > 0) {
        this._asked.set(round, left);
      } else {
        this._asked.delete(round);
      }
    }
  }

  private async _tell(record: IAttemptRecord): Promise<void> {
    // Where the kernel refuses or does not answer, the cells go back to what it says.
    await this._ask(record).catch(() => undefined);
    if (this.asking(record)) {
      return;
    }
    for (const entry of this._round(roundOf(record))) {
      const known = this._known(entry);
      if (known && !entry.model.isDisposed) {
        this._write(entry.model.sharedModel, known);
      }
    }
  }

  /** Return the cells of a round that have not been accepted. */
  private _round(round: string): (IEntry & { attempt: IAttemptRecord })[] {
    return this._index.entries.filter(
      (entry): entry is IEntry & { attempt: IAttemptRecord } =>
        entry.attempt?.role === 'attempt' &&
        isCandidate(entry.attempt) &&
        roundOf(entry.attempt) === round
    );
  }

  private _known({ attempt }: IEntry): IAttemptState | undefined {
    return attempt
      ? this._channel.store.tasks
          .get(attempt.task)
          ?.attempts.get(attempt.attempt)
      : undefined;
  }

  /** How many questions about each round have no answer yet. */
  private readonly _asked = new Map<string, number>();
  private readonly _told = new Map<string, number>();
}
