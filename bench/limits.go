package main

import (
	"fmt"
	"strings"
)

// limit is one of a scenario's targets: a bound for Satchel's median, made from those of others in the same run.
type limit struct {
	of metric
	// factor is multiplied with the least of these rows; with none of them, the bound is plus alone.
	factor float64
	than   []string
	plus   float64 // in the metric's unit
	// over names a row that is taken off on both sides first: what is left is a tool's own share.
	over string
	// in names another scenario that than is looked up in; empty is this one.
	in string
}

// String says the limit in words.
func (l limit) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", l.of)
	if l.over != "" {
		fmt.Fprintf(&b, " over %s", l.over)
	}
	b.WriteString(" ≤ ")
	if len(l.than) > 0 {
		if l.factor != 1 {
			fmt.Fprintf(&b, "%g × ", l.factor)
		}
		if len(l.than) == 1 {
			b.WriteString(l.than[0])
		} else {
			fmt.Fprintf(&b, "the least of %s", strings.Join(l.than, ", "))
		}
		if l.in != "" {
			fmt.Fprintf(&b, " in %s", l.in)
		}
		if l.plus != 0 {
			b.WriteString(" + ")
		}
	}
	if l.plus != 0 || len(l.than) == 0 {
		fmt.Fprintf(&b, "%g%s", l.plus, l.of.unit())
	}
	return b.String()
}

// verdict is a limit applied.
type verdict struct {
	limit        limit
	value, bound float64
	ratio        float64 // of the value to what the limit compares with; 0 if that is nothing
	judged       bool    // false: a row that it needs is missing
	why          string  // what is missing, or why the bound can't be met
}

func (v verdict) met() bool { return v.judged && v.value <= v.bound }

// judge applies all limits.
func judge(results []result) {
	for i := range results {
		r := &results[i]
		r.verdicts = nil
		for _, l := range r.scenario.limits {
			r.verdicts = append(r.verdicts, r.apply(l, results))
		}
	}
}

func (r *result) apply(l limit, all []result) verdict {
	v := verdict{limit: l}
	own, err := r.median(subject, l.of, l.over)
	if err != nil {
		v.why = err.Error()
		return v
	}
	v.value, v.bound = own, l.plus
	if len(l.than) > 0 {
		least, err := r.least(l, all)
		if err != nil {
			v.why = err.Error()
			return v
		}
		v.bound += l.factor * least
		if least > 0 {
			v.ratio = own / least
		}
	}
	v.judged = true
	if l.over == "" && !v.met() {
		v.why = r.slower(l.of, v.bound)
	}
	return v
}

// slower names the floors that exceed a bound too: then no tool that does their work can meet it.
func (r *result) slower(m metric, bound float64) string {
	var some []string
	for _, row := range r.rows {
		if s, ok := row.spread(m); ok && row.isFloor && s.median > bound {
			some = append(some, fmt.Sprintf("%s alone takes %s%s", row.name, digits(s.median), m.unit()))
		}
	}
	return strings.Join(some, ", ")
}

// least is the least median of the rows that a limit compares with, where it compares.
func (r *result) least(l limit, all []result) (float64, error) {
	from := r
	if l.in != "" {
		from = nil
		for i := range all {
			if all[i].scenario.name == l.in && all[i].place == r.place {
				from = &all[i]
			}
		}
		if from == nil {
			return 0, fmt.Errorf("%s was not run", l.in)
		}
	}
	var least float64
	for i, name := range l.than {
		value, err := from.median(name, l.of, l.over)
		if err != nil {
			return 0, err
		}
		if i == 0 || value < least {
			least = value
		}
	}
	return least, nil
}

// median is that of a row, with that of another row taken off.
func (r *result) median(name string, m metric, over string) (float64, error) {
	s, ok := r.row(name).spread(m)
	if !ok {
		return 0, fmt.Errorf("%s has no figure", name)
	}
	if over == "" {
		return s.median, nil
	}
	less, ok := r.row(over).spread(m)
	if !ok {
		return 0, fmt.Errorf("%s has no figure", over)
	}
	return s.median - less.median, nil
}

// subject is the row that is judged.
const subject = "satchel"
