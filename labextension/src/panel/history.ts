/** Earlier tasks of a notebook, to walk through with the arrow keys. */

export class TaskHistory {
  /**
   * Begin a walk, or go on with it, one task back. Returns null where there is none.
   *
   * @param tasks - The tasks so far, the oldest first.
   * @param current - What stands in the box; kept to come back to.
   */
  back(tasks: readonly string[], current: string): string | null {
    if (this._at === null) {
      this._tasks = tasks.filter((task, i) => task && task !== tasks[i + 1]);
      this._draft = current;
      this._at = this._tasks.length;
    }
    if (this._at === 0) {
      return null;
    }
    this._at -= 1;
    return this._tasks[this._at];
  }

  /** One task forward; at the end what the user had written before. Returns null outside of a walk. */
  forward(): string | null {
    if (this._at === null) {
      return null;
    }
    this._at += 1;
    if (this._at < this._tasks.length) {
      return this._tasks[this._at];
    }
    this._at = null;
    return this._draft;
  }

  /** The user wrote something, or sent it: the walk is over. */
  leave(): void {
    this._at = null;
  }

  private _tasks: string[] = [];
  private _draft = '';
  private _at: number | null = null;
}
