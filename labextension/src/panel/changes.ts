/** What the sandbox has changed among the project's files, and what of it the user takes over. */

import { type ISignal, Signal } from '@lumino/signaling';

import type { INotebookWork, IReply } from '../tokens';
import { list, number, record, string } from '../values';

/** Files that are read of an answer, and characters of a diff. */
const MOST = 500;
const DIFF_MOST = 200_000;
const TEXT_MOST = 1000;

/** How long applying may take, in milliseconds: files can be large, and disks slow. */
const PATIENCE = 120_000;

export type ChangeKind = 'added' | 'changed' | 'deleted' | 'special';

/** The two lines above a diff that name the file before and after. */
const NAMES = /^--- .*\n\+\+\+ .*\n/;

/** A file as the sandbox has it now. */
export interface IFileChange {
  /** Relative to the working folder. */
  path: string;
  kind: ChangeKind;
  /** Bytes. */
  size: number;
  /** What it is, where it is no ordinary file. */
  special: string;
  /** Why it is set apart: something runs it without being asked to; empty where nothing does. */
  runsByItself: string;
  /** Why it cannot be applied now; empty where it can. */
  conflict: string;
  /** Lines that begin with " ", "+", "-" or "@@". */
  diff: string;
}

/** What came of applying, or of undoing that. */
export interface IApplied {
  text: string;
  refused: readonly { path: string; reason: string }[];
}

export class Changes {
  /** Something is another. */
  get changed(): ISignal<Changes, void> {
    return this._changed;
  }

  /** The user looks at them. */
  get open(): boolean {
    return this._open;
  }

  get files(): readonly IFileChange[] {
    return this._files;
  }

  /** How many files are not listed, or why there is none; may be empty. */
  get note(): string {
    return this._note;
  }

  /** The kernel has said what there is. */
  get known(): boolean {
    return this._known;
  }

  /** Something is being applied, or undone. */
  get busy(): boolean {
    return this._busy;
  }

  /** What came of the last time. */
  get applied(): IApplied | null {
    return this._applied;
  }

  /** Something was applied from here, and not undone since. */
  get undoable(): boolean {
    return this._undoable;
  }

  /** The paths that "Apply selected" takes. */
  get selected(): string[] {
    return this._files
      .filter(file => this.isSelected(file))
      .map(({ path }) => path);
  }

  isSelected(file: IFileChange): boolean {
    return (
      mayApply(file) && (this._choice.get(file.path) ?? !file.runsByItself)
    );
  }

  select(file: IFileChange, selected: boolean): void {
    this._choice.set(file.path, selected);
    this._changed.emit();
  }

  show(open: boolean): void {
    this._open = open;
    this._applied = null;
    this._changed.emit();
  }

  /** Forget all: the notebook is another one. */
  clear(): void {
    this._round += 1;
    this._files = [];
    this._note = '';
    this._open = this._known = this._undoable = false;
    this._applied = null;
    this._choice.clear();
  }

  /** Ask the kernel again; where it cannot say now, what is shown stays. */
  async refresh(work: INotebookWork): Promise<void> {
    const round = ++this._round;
    const reply = await work.request('changes').catch(() => null);
    if (round !== this._round) {
      return; // asked again meanwhile, or for another notebook
    }
    if (reply?.ok) {
      this._files = list(reply.files).slice(0, MOST).flatMap(toFile);
      this._note = string(reply.note).slice(0, TEXT_MOST);
      this._known = true;
    } else if (this._open) {
      this._note = reply?.text ?? '';
    }
    this._changed.emit();
  }

  /** Write what is selected into the user's folder. */
  async apply(work: INotebookWork): Promise<void> {
    const paths = this.selected;
    const reply = await this._do(work, 'apply', { paths });
    this._undoable ||= list(reply.applied).length > 0;
    await this._end(work, reply);
  }

  /** Put back what the last time wrote. */
  async undo(work: INotebookWork): Promise<void> {
    const reply = await this._do(work, 'unapply', {});
    this._undoable = false;
    await this._end(work, reply);
  }

  private async _do(
    work: INotebookWork,
    type: string,
    payload: Record<string, unknown>
  ): Promise<IReply> {
    this._busy = true;
    this._applied = null;
    this._changed.emit();
    try {
      const reply = await work.request(type, payload, PATIENCE);
      if (!reply.ok) {
        throw new Error(reply.text);
      }
      return reply;
    } finally {
      this._busy = false;
      this._changed.emit();
    }
  }

  private async _end(work: INotebookWork, reply: IReply): Promise<void> {
    const refused = Object.entries(record(reply.refused))
      .slice(0, MOST)
      .map(([path, reason]) => ({ path, reason: string(reason) }));
    this._applied = { text: reply.text, refused };
    this._choice.clear();
    await this.refresh(work);
  }

  private _files: IFileChange[] = [];
  private _note = '';
  private _known = false;
  private _open = false;
  private _busy = false;
  private _undoable = false;
  private _round = 0;
  private _applied: IApplied | null = null;
  private readonly _choice = new Map<string, boolean>();
  private readonly _changed = new Signal<Changes, void>(this);
}

/** Whether a file can be applied now. */
export function mayApply({ kind, conflict }: IFileChange): boolean {
  return kind !== 'special' && !conflict;
}

/** Return how many lines of a diff are new, and how many are gone. */
export function lineCounts(diff: string): { added: number; removed: number } {
  const lines = diff.replace(NAMES, '').split('\n');
  const count = (sign: string) =>
    lines.filter(line => line.startsWith(sign)).length;
  return { added: count('+'), removed: count('-') };
}

function toFile(value: unknown): IFileChange[] {
  const found = record(value);
  const path = string(found.path).slice(0, 4096);
  const kinds = ['added', 'changed', 'deleted', 'special'] as const;
  const kind = kinds.find(known => known === found.kind);
  return path && kind
    ? [
        {
          path,
          kind,
          size: number(found.size),
          special: string(found.special).slice(0, TEXT_MOST),
          runsByItself: string(found.runs_by_itself).slice(0, TEXT_MOST),
          conflict: string(found.conflict).slice(0, TEXT_MOST),
          diff: string(found.diff).slice(0, DIFF_MOST)
        }
      ]
    : [];
}
