import './cells.css';
