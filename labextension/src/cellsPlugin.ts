/** The plugin that shows attempts in notebooks: wiring only. */

import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, ISessionContextDialogs } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { AgentCells } from './agentCells';
import { addCommands } from './commands';
import { CellSettings } from './settings';
import { EXTENSION, IAgentCells } from './tokens';

export const cellsPlugin: JupyterFrontEndPlugin<IAgentCells> = {
  id: `${EXTENSION}:cells`,
  description: 'Shows the attempts of the coding agent as cells.',
  autoStart: true,
  provides: IAgentCells,
  requires: [INotebookTracker],
  optional: [
    ISettingRegistry,
    ICommandPalette,
    ISessionContextDialogs,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    dialogs: ISessionContextDialogs | null,
    optionalTranslator: ITranslator | null
  ): IAgentCells => {
    const translator = optionalTranslator ?? nullTranslator;
    const trans = translator.load('jupyter_codeagent');
    const settings = new CellSettings();
    const { commands } = app;
    const cells = new AgentCells({
      tracker,
      commands,
      settings,
      dialogs: dialogs ?? undefined,
      translator
    });
    const refresh = addCommands(commands, cells, trans, palette);
    cells.changed.connect(refresh);
    cells.currentChanged.connect(refresh);
    tracker.activeCellChanged.connect(refresh);
    registry
      ?.load(`${EXTENSION}:cells`)
      .then(loaded => settings.follow(loaded))
      .catch((reason: unknown) => console.warn(String(reason)));
    return cells;
  }
};
