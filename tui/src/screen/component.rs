//! The screen is a stack of components: the panes at the bottom, and over them what has been opened. Events go from the top down until one
//! takes them; drawing goes from the bottom up.
//!
//! A component never changes the rest of the screen while it handles an event: it returns what is to be done as a callback, which runs when
//! the stack is whole again and may open and close layers.

use std::any::Any;

use ratatui::{
    buffer::Buffer,
    crossterm::event::Event,
    layout::{Position, Rect},
};

use super::app::App;

/// What is to be done after an event.
pub type Callback = Box<dyn FnOnce(&mut App)>;

/// What a component has made of an event.
pub enum Handled {
    /// Nothing: it goes to the component below.
    Ignored,
    /// It is done with, apart from the callback.
    Consumed(Option<Callback>),
}

impl Handled {
    /// Consumed, and this is to be done.
    pub fn then(callback: impl FnOnce(&mut App) + 'static) -> Self {
        Self::Consumed(Some(Box::new(callback)))
    }

    /// Consumed; the layer that is on top is closed, and then this is done.
    pub fn close_then(callback: impl FnOnce(&mut App) + 'static) -> Self {
        Self::then(|app| {
            app.layers.pop();
            callback(app);
        })
    }

    /// Consumed; the layer that is on top is closed.
    pub fn close() -> Self {
        Self::close_then(|_| {})
    }
}

/// A layer of the screen.
pub trait Component: Any {
    /// Handles a key, the mouse, or a paste.
    fn handle_event(&mut self, event: &Event) -> Handled;

    /// Draws it. `app` has no layers meanwhile.
    fn render(&mut self, area: Rect, buffer: &mut Buffer, app: &mut App);

    /// Where the cursor is, after it was drawn; `None` hides it.
    fn cursor(&self) -> Option<Position> {
        None
    }
}

/// The components, from the bottom to the top.
#[derive(Default)]
pub struct Layers(Vec<Box<dyn Component>>);

impl Layers {
    /// With this at the bottom.
    pub fn over(bottom: impl Component) -> Self {
        Self(vec![Box::new(bottom)])
    }

    /// Opens a layer over all others.
    pub fn push(&mut self, layer: impl Component) {
        self.0.push(Box::new(layer));
    }

    /// Closes the layer on top; the bottom stays.
    pub fn pop(&mut self) {
        if self.0.len() > 1 {
            self.0.pop();
        }
    }

    /// Whether something lies over the bottom.
    pub fn covers(&self) -> bool {
        self.0.len() > 1
    }

    /// The topmost layer of a kind.
    pub fn find<T: Component>(&mut self) -> Option<&mut T> {
        self.0.iter_mut().rev().find_map(|layer| (&mut **layer as &mut dyn Any).downcast_mut())
    }

    /// How many layers of a kind fit.
    pub fn count<T: Component>(&self, fits: impl Fn(&T) -> bool) -> usize {
        let of_kind = self.0.iter().filter_map(|layer| (&**layer as &dyn Any).downcast_ref());
        of_kind.filter(|layer| fits(layer)).count()
    }

    /// Closes the layers of a kind that do not fit.
    pub fn retain<T: Component>(&mut self, fits: impl Fn(&T) -> bool) {
        self.0.retain(|layer| (&**layer as &dyn Any).downcast_ref().is_none_or(&fits));
    }

    fn handle_event(&mut self, event: &Event) -> Handled {
        for layer in self.0.iter_mut().rev() {
            if let handled @ Handled::Consumed(_) = layer.handle_event(event) {
                return handled;
            }
        }
        Handled::Ignored
    }
}

impl App {
    /// Takes a key, the mouse, or a paste.
    pub fn handle_event(&mut self, event: &Event) {
        let handled = self.layers.handle_event(event);
        if let Handled::Consumed(Some(callback)) = handled {
            callback(self);
        }
    }

    /// Draws all layers; gives where the cursor is.
    pub fn render(&mut self, area: Rect, buffer: &mut Buffer) -> Option<Position> {
        self.panes.covered = self.layers.covers();
        let mut layers = std::mem::take(&mut self.layers);
        let mut cursor = None;
        for layer in &mut layers.0 {
            layer.render(area, buffer, self);
            cursor = layer.cursor();
        }
        self.layers = layers;
        cursor
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::*;

    struct Layer(char, Arc<Mutex<String>>);

    impl Component for Layer {
        fn handle_event(&mut self, event: &Event) -> Handled {
            let takes = matches!(event, Event::Key(key) if key.code == KeyCode::Char(self.0));
            self.1.lock().unwrap().push(if takes { self.0.to_ascii_uppercase() } else { self.0 });
            if takes { Handled::close() } else { Handled::Ignored }
        }

        fn render(&mut self, _: Rect, _: &mut Buffer, _: &mut App) {}
    }

    #[test]
    fn events_go_from_the_top_down_until_a_layer_takes_them_and_the_bottom_stays() {
        let log = Arc::new(Mutex::new(String::new()));
        let mut layers = Layers::over(Layer('a', log.clone()));
        layers.push(Layer('b', log.clone()));
        layers.push(Layer('c', log.clone()));
        for key in ['b', 'x', 'c'] {
            layers.handle_event(&Event::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE)));
        }
        assert_eq!(*log.lock().unwrap(), "cBcbaC");
        assert_eq!(layers.find::<Layer>().map(|layer| layer.0), Some('c'));
        layers.retain::<Layer>(|layer| layer.0 != 'b');
        (0..3).for_each(|_| layers.pop());
        assert_eq!(layers.find::<Layer>().map(|layer| layer.0), Some('a'));
    }
}
