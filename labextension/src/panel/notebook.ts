/** What the panel reads of a notebook: cells, the selection, errors. */

import { type Cell, isCodeCellModel } from '@jupyterlab/cells';
import type { IError } from '@jupyterlab/nbformat';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IOutputModel } from '@jupyterlab/rendermime';

import { KEY } from '../tokens';
import { list, record, string } from '../values';
import type { IQuote } from './compose';
import { oneLine, withoutEscapes } from './text';

/** Lines of a traceback are as long as whoever raised the error made them. */
const LINE = 2000;

export interface IFailure {
  /** "KeyError: 'Revenue'", in one line. */
  summary: string;
  traceback: string;
}

const summaries = new WeakMap<IOutputModel, string>();

/** Return the error in the outputs of `cell`; null where there is none. */
export function failureOf(cell: Cell | null): IFailure | null {
  const output = errorOutput(cell);
  if (!output) {
    return null;
  }
  const error = output.toJSON() as IError;
  const lines = list(error.traceback).map(line =>
    withoutEscapes(string(line).slice(0, LINE))
  );
  const summary = summaryOf(error);
  return { summary, traceback: lines.join('\n').trim() || summary };
}

/** Return what gives the error of a cell, by its id, as one line or nothing; the notebook is read once, when it is first asked. */
export function errorLines(panel: NotebookPanel): (cellId: string) => string {
  let cells: Map<string, Cell> | null = null;
  return cellId => {
    cells ??= new Map(panel.content.widgets.map(cell => [cell.model.id, cell]));
    return errorLine(cells.get(cellId) ?? null);
  };
}

/** Return the error in the outputs of `cell`; made once for each output. */
function errorLine(cell: Cell | null): string {
  const output = errorOutput(cell);
  if (!output) {
    return '';
  }
  let summary = summaries.get(output);
  if (summary === undefined) {
    summary = summaryOf(output.toJSON() as IError);
    summaries.set(output, summary);
  }
  return summary;
}

/** Return how `cell` is called in a sentence: by its prompt, else by its place. */
export function nameOf(panel: NotebookPanel, cell: Cell): string {
  const count = isCodeCellModel(cell.model) ? cell.model.executionCount : null;
  return count === null
    ? `cell ${panel.content.widgets.indexOf(cell) + 1}`
    : `cell [${count}]`;
}

/** Return the source of `cell`, and its error if it failed, to be quoted below a task. */
export function quotesOf(panel: NotebookPanel, cell: Cell): IQuote[] {
  const failure = failureOf(cell);
  const language = cell.model.type === 'code' ? 'python' : 'markdown';
  const quotes = [
    {
      title: `The ${nameOf(panel, cell)}`,
      language: cell.model.type === 'raw' ? '' : language,
      text: cell.model.sharedModel.getSource()
    }
  ];
  return failure
    ? [...quotes, { title: 'Its error', language: '', text: failure.traceback }]
    : quotes;
}

/** Return what is selected in the editor of the active cell. */
export function selectionOf(panel: NotebookPanel): string {
  const editor = panel.content.activeCell?.editor;
  if (!editor) {
    return '';
  }
  const { start, end } = editor.getSelection();
  const [from, to] = [editor.getOffsetAt(start), editor.getOffsetAt(end)];
  return editor.model.sharedModel
    .getSource()
    .slice(Math.min(from, to), Math.max(from, to));
}

/** Return the cell that the user means by "this": the active one, unless it is one of the agent's own. */
export function activeCell(panel: NotebookPanel): Cell | null {
  const cell = panel.content.activeCell;
  return cell && !isAgents(cell) ? cell : null;
}

/** Return the failed cell that the user means: the active one, else the last that failed. */
export function failedCell(panel: NotebookPanel): Cell | null {
  const active = activeCell(panel);
  if (active && errorOutput(active)) {
    return active;
  }
  const cells = panel.content.widgets;
  for (let i = cells.length - 1; i >= 0; i--) {
    if (!isAgents(cells[i]) && errorOutput(cells[i])) {
      return cells[i];
    }
  }
  return null;
}

/** Return the cells that can be attached, with their first line. */
export function attachable(
  panel: NotebookPanel
): { id: string; name: string; line: string }[] {
  return panel.content.widgets
    .filter(cell => !isAgents(cell))
    .map(cell => ({
      id: cell.model.id,
      name: nameOf(panel, cell),
      line: oneLine(cell.model.sharedModel.getSource(), 80)
    }))
    .filter(({ line }) => line);
}

/** Return whether `cell` is a task or an attempt that was not accepted. */
function isAgents(cell: Cell): boolean {
  const role = record(cell.model.getMetadata(KEY)).role;
  return role === 'task' || role === 'attempt';
}

function errorOutput(cell: Cell | null): IOutputModel | null {
  if (!cell || cell.isDisposed || !isCodeCellModel(cell.model)) {
    return null;
  }
  const outputs = cell.model.outputs;
  for (let i = outputs.length - 1; i >= 0; i--) {
    const output = outputs.get(i);
    if (output.type === 'error') {
      return output;
    }
  }
  return null;
}

function summaryOf(error: IError): string {
  const name = oneLine(string(error.ename), 80);
  const value = oneLine(
    withoutEscapes(string(error.evalue).slice(0, LINE)),
    300
  );
  return value ? `${name}: ${value}` : name;
}
