package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// writeTable prints what, measured, bar and ok in columns.
func writeTable(out io.Writer, rows []row) error {
	cells := [][]string{{"what", "measured", "bar", "ok"}}
	for _, r := range rows {
		cells = append(cells, r.cells())
	}
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for n, line := range cells {
		for i, cell := range line {
			if i > 0 {
				b.WriteString(" | ")
			}
			b.WriteString(cell)
			if i < len(line)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
			}
		}
		b.WriteByte('\n')
		if n == 0 {
			for i, width := range widths {
				if i > 0 {
					b.WriteString("-|-")
				}
				b.WriteString(strings.Repeat("-", width))
			}
			b.WriteByte('\n')
		}
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// cells of a row; a row without a bar is neither ok nor not.
func (r row) cells() []string {
	switch {
	case r.missing != "":
		return []string{r.what, "not measured: " + r.missing, orDash(r.bar), "no"}
	case r.bar == "":
		return []string{r.what, r.measured, "-", "-"}
	case r.met:
		return []string{r.what, r.measured, r.bar, "yes"}
	default:
		return []string{r.what, r.measured, r.bar, "NO"}
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
