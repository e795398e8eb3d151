/** Makes the panel's content; with all that it imports, this is loaded when the panel is first shown. */

import '../../style/panel.css';

import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import type { IRenderMime } from '@jupyterlab/rendermime';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import type { IStateDB } from '@jupyterlab/statedb';
import type { TranslationBundle } from '@jupyterlab/translation';

import { Server } from '../server';
import type { IAgentCells } from '../tokens';
import { makeDeeds } from './deeds';
import { Folds } from './folds';
import type { IContent } from './host';
import { PanelModel } from './model';
import { PanelSettings } from './settings';
import { PanelView } from './view';

export interface IServices {
  app: JupyterFrontEnd;
  cells: IAgentCells;
  trans: TranslationBundle;
  registry: ISettingRegistry | null;
  state: IStateDB | null;
  markdown: IRenderMime.IMarkdownParser | null;
  languages: IEditorLanguageRegistry | null;
}

export function makeContent(services: IServices): IContent {
  const { app, cells, trans, markdown, languages } = services;
  const model = new PanelModel({
    cells,
    trans,
    server: new Server(app.serviceManager.serverSettings),
    settings: new PanelSettings(services.registry),
    folds: new Folds(services.state)
  });
  const deeds = makeDeeds(app, model, trans);
  const view = new PanelView({ model, deeds, trans, markdown, languages });
  return { model, view };
}
