import { marked } from "marked";
import { render } from "preact";
import { useState } from "preact/hooks";
import text from "./text.md?raw";
import pin from "./pin.svg";
import "./style.css";

function App() {
  const [count, setCount] = useState(0);
  return (
    <>
      <img src={pin} alt="" width="64" />
      <article dangerouslySetInnerHTML={{ __html: marked.parse(text, { async: false }) }} />
      <button onClick={() => setCount(count + 1)}>{count} so far</button>
    </>
  );
}

render(<App />, document.getElementById("app")!);
