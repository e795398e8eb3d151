/** Whether an open notebook can be changed and saved. */

import type { DocumentRegistry } from '@jupyterlab/docregistry';
import type { INotebookModel } from '@jupyterlab/notebook';

export type NotebookContext = DocumentRegistry.IContext<INotebookModel>;

export function isWritable({ model, contentsModel }: NotebookContext): boolean {
  return !model.readOnly && contentsModel?.writable !== false;
}
