package main

import (
	"fmt"
	"strings"
)

// table is a scenario's measurements in Markdown.
func table(r result) string {
	own, haveOwn := r.row(subject).spread(wall)
	rows := [][]string{{"", "time (min–max)", "CPU", "memory", "trips", "conns", "kB up", "kB down", "Satchel takes"}}
	for _, row := range r.rows {
		cells := []string{row.name}
		w, ok := row.spread(wall)
		if !ok {
			cells = append(cells, "–", "–", "–")
		} else {
			c, _ := row.spread(cpu) // there if the time is
			m, _ := row.spread(rss)
			cells = append(cells, fmt.Sprintf("%s s (%s–%s)", digits(w.median), digits(w.least), digits(w.most)),
				digits(c.median)+" s", fmt.Sprintf("%.0f MB", m.median))
		}
		if row.counted {
			t := row.traffic
			cells = append(cells, fmt.Sprint(t.Trips), fmt.Sprint(t.Connections), digits(float64(t.Up)/1000), digits(float64(t.Down)/1000))
		} else {
			cells = append(cells, "–", "–", "–", "–")
		}
		ratio := ""
		if ok && haveOwn && row.name != subject {
			ratio = digits(own.median/w.median) + " ×"
		}
		rows = append(rows, append(cells, ratio))
	}
	runs := ""
	switch s := r.scenario; {
	case s.runs != 0:
		runs = fmt.Sprintf(", runs: %d", s.runs)
	case s.often > 1:
		runs = fmt.Sprintf(", %d times as many runs", s.often)
	}
	return fmt.Sprintf("### %s: %s (%s%s)\n\n%s", r.scenario.name, r.scenario.title, r.place.name, runs, markdown(rows))
}

// digits shows three of a value's digits.
func digits(v float64) string {
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1 || v <= -1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// markdown aligns a table: the first column to the left, the others to the right.
func markdown(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)), 3)
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i == 0 {
				b.WriteString("| " + cell + pad)
			} else {
				b.WriteString(" | " + pad + cell)
			}
		}
		b.WriteString(" |\n")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			if i == 0 {
				b.WriteString("| " + strings.Repeat("-", width))
			} else {
				b.WriteString(" | " + strings.Repeat("-", width-1) + ":")
			}
		}
		b.WriteString(" |\n")
	}
	return b.String()
}

// summary is a line for each target.
func summary(results []result) string {
	rows := [][]string{{"scenario", "target", "figure", "bound", "ratio", ""}}
	for _, r := range results {
		for _, v := range r.verdicts {
			rows = append(rows, append([]string{r.label(), v.limit.String()}, v.cells()...))
		}
	}
	return markdown(rows)
}

// cells are figure, bound, ratio and judgement.
func (v verdict) cells() []string {
	if !v.judged {
		return []string{"–", "–", "", "not judged: " + v.why}
	}
	unit := v.limit.of.unit()
	cells := []string{digits(v.value) + unit, digits(v.bound) + unit, "", "met"}
	if v.ratio != 0 {
		cells[2] = digits(v.ratio) + " ×"
	}
	if !v.met() {
		cells[3] = "**missed**"
		if v.why != "" {
			cells[3] += ": " + v.why
		}
	}
	return cells
}

func (r result) label() string { return r.scenario.name + " (" + r.place.name + ")" }

// overview is a line for each scenario: Satchel's time, as a share of each other's.
func overview(results []result) string {
	peers := []string{comesAs, plain, qresync}
	rows := [][]string{{"scenario", "Satchel", "of mbsync", "of mbsync-plain", "of interimap", "of the slowest floor"}}
	for _, r := range results {
		own, ok := r.row(subject).spread(wall)
		if !ok {
			rows = append(rows, []string{r.label(), "–", "", "", "", ""})
			continue
		}
		cells := []string{r.label(), digits(own.median) + " s"}
		for _, peer := range peers {
			s, ok := r.row(peer).spread(wall)
			cells = append(cells, share(own, s, ok))
		}
		var slowest spread
		var name string
		for _, row := range r.rows {
			if s, ok := row.spread(wall); ok && row.isFloor && s.median > slowest.median {
				slowest, name = s, " ("+row.name+")"
			}
		}
		rows = append(rows, append(cells, share(own, slowest, name != "")+name))
	}
	return markdown(rows)
}

func share(own, other spread, ok bool) string {
	if !ok {
		return ""
	}
	return digits(own.median/other.median) + " ×"
}

// report is what goes into the file.
func (l *lab) report(results []result) string {
	var b strings.Builder
	b.WriteString(l.preface())
	b.WriteString("\n## Targets\n\n")
	b.WriteString(summary(results))
	b.WriteString("\n## Satchel's time\n\n")
	b.WriteString(overview(results))
	b.WriteString("\n## Measurements\n")
	for _, r := range results {
		b.WriteString("\n" + table(r))
		for _, row := range r.rows {
			if row.err != nil {
				fmt.Fprintf(&b, "\n%s stopped early: %s\n", row.name, strings.ReplaceAll(row.err.Error(), "\n", " "))
			}
		}
	}
	return b.String()
}
