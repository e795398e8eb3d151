/** The plugin of the side panel: wiring only. */

import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { agentIcon } from './icons';
import { PanelHost } from './panel/host';
import { Commands, EXTENSION, IAgentCells } from './tokens';

export const panelPlugin: JupyterFrontEndPlugin<void> = {
  id: `${EXTENSION}:panel`,
  description: 'The side panel of the coding agent.',
  autoStart: true,
  requires: [IAgentCells, IRenderMimeRegistry],
  optional: [
    ITranslator,
    ISettingRegistry,
    IStateDB,
    IEditorLanguageRegistry,
    ILayoutRestorer,
    ICommandPalette
  ],
  activate: (
    app: JupyterFrontEnd,
    cells: IAgentCells,
    rendermime: IRenderMimeRegistry,
    translator: ITranslator | null,
    registry: ISettingRegistry | null,
    state: IStateDB | null,
    languages: IEditorLanguageRegistry | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null
  ) => {
    const trans = (translator ?? nullTranslator).load('jupyter_codeagent');
    const host = new PanelHost(trans.__('Code agent'), async () => {
      const { makeContent } = await import('./panel/load');
      const markdown = rendermime.markdownParser;
      return makeContent({
        app,
        cells,
        trans,
        registry,
        state,
        markdown,
        languages
      });
    });
    app.shell.add(host, 'right', { rank: 900, type: 'Code Agent' });
    restorer?.add(host, host.id);
    addCommands(app, cells, host, trans);
    for (const command of [
      Commands.openPanel,
      Commands.ask,
      Commands.saveNotebook,
      Commands.verifyNotebook,
      Commands.showChanges
    ]) {
      palette?.addItem({ command, category: trans.__('Code Agent') });
    }
  }
};

function addCommands(
  app: JupyterFrontEnd,
  cells: IAgentCells,
  host: PanelHost,
  trans: ReturnType<ITranslator['load']>
): void {
  const { commands, shell } = app;
  const show = () => {
    shell.activateById(host.id);
    return host.content();
  };
  const changed = () => {
    commands.notifyCommandChanged(Commands.saveNotebook);
    commands.notifyCommandChanged(Commands.verifyNotebook);
    commands.notifyCommandChanged(Commands.showChanges);
  };
  cells.currentChanged.connect(changed);
  commands.addCommand(Commands.openPanel, {
    label: trans.__('Show Code Agent Panel'),
    icon: agentIcon,
    execute: async () => {
      await show();
    }
  });
  commands.addCommand(Commands.ask, {
    label: trans.__('Ask the Agent...'),
    caption: trans.__('Ask the agent about this notebook'),
    icon: agentIcon,
    describedBy: {
      args: {
        type: 'object',
        properties: {
          attachCell: {
            type: 'boolean',
            description: trans.__('Whether the active cell goes with the task')
          }
        }
      }
    },
    execute: async args => {
      const { model } = await show();
      if (args.attachCell === true) {
        model.attachActiveCell();
      }
      model.requestFocus();
    }
  });
  commands.addCommand(Commands.saveNotebook, {
    label: trans.__('Save Accepted Work as Notebook...'),
    icon: agentIcon,
    isEnabled: () => cells.current !== null,
    execute: async () => {
      const { model, view } = await show();
      await model.act(() => view.saveAs());
    }
  });
  commands.addCommand(Commands.showChanges, {
    label: trans.__('Show Files Changed in the Sandbox'),
    icon: agentIcon,
    isEnabled: () => cells.current !== null,
    execute: async () => {
      const { model } = await show();
      model.showChanges();
    }
  });
  commands.addCommand(Commands.verifyNotebook, {
    label: trans.__('Verify Notebook in a Fresh Sandbox'),
    icon: agentIcon,
    isEnabled: () => cells.current !== null,
    execute: async () => {
      const work = cells.current;
      const { model, view } = await show();
      await model.act(() => view.verify(work));
    }
  });
}
