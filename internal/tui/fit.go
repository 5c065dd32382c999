package tui

// Fit cuts a text to the columns of a terminal; 0 columns is any number.
func (s Style) Fit(text string, columns int) string {
	if columns <= 0 {
		return text
	}
	return fit(text, columns, s.ellipsis())
}

// Width is the number of columns that a text takes.
func Width(text string) int { return textWidth(text) }

// Bold, Dim, Warn and Bad set a text off where colours are allowed.
func (s Style) Bold(text string) string { return s.paint(bold, text) }

// Dim is for what matters less.
func (s Style) Dim(text string) string { return s.paint(dim, text) }

// Warn is for what people should look at.
func (s Style) Warn(text string) string { return s.paint(yellow, text) }

// Bad is for what does not work.
func (s Style) Bad(text string) string { return s.paint(red, text) }

// Accent is for what something becomes.
func (s Style) Accent(text string) string { return s.paint(cyan, text) }
