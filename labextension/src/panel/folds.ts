/** Where the user began anew: tasks up to there are folded away. Kept with the workspace, so that reload shows the same. */

import type { IStateDB } from '@jupyterlab/statedb';
import { type ISignal, Signal } from '@lumino/signaling';

import type { ITaskView } from '../tokens';
import { list, string } from '../values';

const STATE = 'jupyter-codeagent:folded';
/** Marks of long gone notebooks are forgotten. */
const KEPT = 200;

export class Folds {
  constructor(private _state: IStateDB | null) {
    void this._load();
  }

  get changed(): ISignal<Folds, void> {
    return this._changed;
  }

  /** Return how many of the tasks are folded away. */
  count(tasks: readonly ITaskView[]): number {
    for (let i = tasks.length; i > 0; i--) {
      if (this._marks.includes(tasks[i - 1].cellId)) {
        return i;
      }
    }
    return 0;
  }

  /** Fold all of the tasks away. */
  fold(tasks: readonly ITaskView[]): void {
    this.unfold(tasks);
    const last = tasks[tasks.length - 1];
    if (last) {
      this._marks = [...this._marks, last.cellId].slice(-KEPT);
      this._save();
    }
  }

  /** Show all of the tasks. */
  unfold(tasks: readonly ITaskView[]): void {
    const ids = new Set(tasks.map(task => task.cellId));
    this._marks = this._marks.filter(mark => !ids.has(mark));
    this._save();
  }

  private _save(): void {
    void this._state?.save(STATE, this._marks);
    this._changed.emit();
  }

  private async _load(): Promise<void> {
    this._marks = list(await this._state?.fetch(STATE))
      .map(string)
      .filter(mark => mark);
    this._changed.emit();
  }

  private _marks: string[] = [];
  private _changed = new Signal<Folds, void>(this);
}
