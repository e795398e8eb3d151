/** The plugin that tells in the status bar what the agent does. */

import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { StatusItem } from './statusItem';
import { Commands, EXTENSION, IAgentCells } from './tokens';

export const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: `${EXTENSION}:status`,
  description: 'Tells in the status bar what the coding agent does.',
  autoStart: true,
  requires: [IAgentCells],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    cells: IAgentCells,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ) => {
    if (!statusBar) {
      return;
    }
    const trans = (translator ?? nullTranslator).load('jupyter_codeagent');
    const item = new StatusItem(cells, trans, {
      open: () => void app.commands.execute(Commands.openPanel),
      failed: sentence => Notification.error(sentence)
    });
    statusBar.registerStatusItem(statusPlugin.id, {
      item,
      align: 'left',
      rank: 90,
      isActive: () => item.isActive,
      activeStateChanged: item.activeChanged
    });
  }
};
