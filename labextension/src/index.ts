import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { cellsPlugin } from './cellsPlugin';

const plugins: JupyterFrontEndPlugin<unknown>[] = [cellsPlugin];

export default plugins;
