import './cells.css';
import './status.css';
