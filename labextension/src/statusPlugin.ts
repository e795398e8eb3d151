/** The plugin that tells in the status bar what the agent does, and what the notebook's stamp is worth. */

import type {
  JupyterFrontEnd,
  JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import type { INotebookModel } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { StatusItem } from './statusItem';
import { Commands, EXTENSION, IAgentCells, KEY } from './tokens';
import { record } from './values';

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
    const open = () => void app.commands.execute(Commands.openPanel);
    const item = new StatusItem(cells, trans, {
      open,
      failed: sentence => Notification.error(sentence)
    });
    statusBar.registerStatusItem(statusPlugin.id, {
      item,
      align: 'left',
      rank: 90,
      isActive: () => item.isActive,
      activeStateChanged: item.activeChanged
    });
    onStamp(cells, async () => {
      const { StampItem } = await import('./stamp/item');
      const stamp = new StampItem(cells, trans, open);
      statusBar.registerStatusItem(`${statusPlugin.id}-stamp`, {
        item: stamp,
        align: 'left',
        rank: 91,
        isActive: () => stamp.isActive,
        activeStateChanged: stamp.activeChanged
      });
    });
  }
};

/** Call `show` when an active notebook first says that it was verified. */
function onStamp(cells: IAgentCells, show: () => Promise<void>): void {
  let notebook: INotebookModel | null = null;
  const look = () => {
    if (notebook && record(notebook.getMetadata(KEY)).verified) {
      notebook.metadataChanged.disconnect(look);
      cells.currentChanged.disconnect(follow);
      void show();
    }
  };
  const follow = () => {
    notebook?.metadataChanged.disconnect(look);
    notebook = cells.current?.panel.content.model ?? null;
    notebook?.metadataChanged.connect(look);
    look();
  };
  cells.currentChanged.connect(follow);
  follow();
}
