/** Our icon; it takes the theme's colour by its class. */

import { LabIcon } from '@jupyterlab/ui-components';

const SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M4 4h16a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-8l-5 4.5V17H4a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zm0 2v9h5v2.2L11.4 15H20V6H4z"/>
    <path d="M10.3 8.1 7.9 10.5l2.4 2.4-1.2 1.2-3.6-3.6 3.6-3.6zm3.4 0 1.2-1.2 3.6 3.6-3.6 3.6-1.2-1.2 2.4-2.4z"/>
  </g>
</svg>`;

export const agentIcon = new LabIcon({
  name: 'jupyter-codeagent:agent',
  svgstr: SVG
});
