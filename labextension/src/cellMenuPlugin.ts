/** The plugin that lets the user ask the agent about a cell, in its menu and toolbar. */

import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import type { Cell } from '@jupyterlab/cells';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { agentIcon } from './icons';
import { activeCell, failureOf } from './panel/notebook';
import { aboutCell, EXPLAIN, FIX } from './panel/requests';
import { PanelSettings } from './panel/settings';
import { Commands, EXTENSION, IAgentCells, type INotebookWork } from './tokens';

export const cellMenuPlugin: JupyterFrontEndPlugin<void> = {
  id: `${EXTENSION}:cell-menu`,
  description: 'Asks the coding agent about a cell.',
  autoStart: true,
  requires: [IAgentCells],
  optional: [ITranslator, ISettingRegistry, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    cells: IAgentCells,
    translator: ITranslator | null,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null
  ) => {
    const trans = (translator ?? nullTranslator).load('jupyter_codeagent');
    const settings = new PanelSettings(registry);
    const { commands } = app;
    const active = () => cells.current && activeCell(cells.current.panel);
    const send = async (sentence: string) => {
      const work = cells.current;
      const cell = active();
      if (work && cell) {
        await asked(work, cell, sentence, settings);
      }
    };
    commands.addCommand(Commands.fixCell, {
      label: trans.__('Fix with Agent'),
      caption: trans.__('Have the agent mend the cell that failed'),
      icon: agentIcon,
      isEnabled: () => failureOf(active()) !== null,
      isVisible: () => failureOf(active()) !== null,
      execute: () => send(FIX)
    });
    commands.addCommand(Commands.explainCell, {
      label: trans.__('Explain with Agent'),
      icon: agentIcon,
      isEnabled: () => active() !== null,
      isVisible: () => active() !== null,
      execute: () => send(EXPLAIN)
    });
    commands.addCommand(Commands.askAboutCell, {
      label: trans.__('Ask About This Cell...'),
      caption: trans.__('Ask the agent about this cell'),
      icon: agentIcon,
      isEnabled: () => cells.current !== null,
      execute: () => commands.execute(Commands.ask, { attachCell: true })
    });
    for (const command of [
      Commands.fixCell,
      Commands.explainCell,
      Commands.askAboutCell
    ]) {
      palette?.addItem({ command, category: trans.__('Code Agent') });
    }
  }
};

/** Send a task about `cell`; what goes wrong is told, as no panel need be open. */
async function asked(
  work: INotebookWork,
  cell: Cell,
  sentence: string,
  settings: PanelSettings
): Promise<void> {
  try {
    const task = aboutCell(work.panel, cell, sentence);
    await work.ask(task, settings.askOptions(), cell);
  } catch (error) {
    Notification.error(error instanceof Error ? error.message : String(error));
  }
}
