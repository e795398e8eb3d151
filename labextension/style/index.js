import './cells.css';
import './panel.css';
