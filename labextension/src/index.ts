import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { cellMenuPlugin } from './cellMenuPlugin';
import { cellsPlugin } from './cellsPlugin';
import { panelPlugin } from './panelPlugin';
import { statusPlugin } from './statusPlugin';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  cellsPlugin,
  panelPlugin,
  statusPlugin,
  cellMenuPlugin
];

export default plugins;
