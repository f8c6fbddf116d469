// A component that is drawn anew only when its properties or signals change.
import { Component } from "preact";

export const memo = (draw) =>
  class Memo extends Component {
    shouldComponentUpdate(next) {
      const keys = Object.keys(next);
      return keys.length !== Object.keys(this.props).length || keys.some((key) => next[key] !== this.props[key]);
    }

    render(props) {
      return draw(props);
    }
  };
