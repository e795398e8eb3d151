/** The plugin that shows attempts in notebooks: wiring only. */

import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { INotebookTracker } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';

import { EXTENSION, IAgentCells } from './tokens';

export const cellsPlugin: JupyterFrontEndPlugin<IAgentCells> = {
  id: `${EXTENSION}:cells`,
  description: 'Shows the attempts of the coding agent as cells.',
  autoStart: true,
  provides: IAgentCells,
  requires: [INotebookTracker],
  activate: (_app: JupyterFrontEnd, _tracker: INotebookTracker) => {
    const cells = { of: () => null, current: null } as const;
    const currentChanged = new Signal<IAgentCells, null>(cells as never);
    return { ...cells, currentChanged };
  }
};
