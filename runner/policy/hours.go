package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // an agent's container has no files but the runner
)

// A window is a part of some days of the week. One that ends before it begins
// ends on the next day.
type window struct {
	zone        *time.Location
	days        []time.Weekday // on which it begins; none: all
	from, until time.Duration  // since midnight
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (w window) String() string {
	days := "every day"
	if len(w.days) > 0 {
		names := make([]string, len(w.days))
		for i, d := range w.days {
			names[i] = weekdays[d]
		}
		days = strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, %s–%s %s", days, clock(w.from), clock(w.until), w.zone)
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60)
}

// end is when the window ends in which t lies.
func (w window) end(t time.Time) (end time.Time, in bool) {
	t = t.In(w.zone)
	for _, back := range []int{0, -1} { // it may have begun yesterday
		day := t.AddDate(0, 0, back)
		if len(w.days) > 0 && !slices.Contains(w.days, day.Weekday()) {
			continue
		}
		from, until := at(day, w.from), at(day, w.until)
		if w.until <= w.from {
			until = at(day.AddDate(0, 0, 1), w.until)
		}
		if !t.Before(from) && t.Before(until) {
			return until, true
		}
	}
	return end, false
}

// at is a time of day on the clock of its place, whatever the season does to it.
func at(day time.Time, d time.Duration) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day(), int(d.Hours()), int(d.Minutes())%60, 0, 0, day.Location())
}

// within says whether the whole time lies in windows, of which one may begin
// where another ends.
func within(all []window, from, until time.Time) error {
	for t := from; ; {
		latest := t
		for _, w := range all {
			if end, in := w.end(t); in && end.After(latest) {
				latest = end
			}
		}
		if !latest.Before(until) && latest.After(t) {
			return nil
		}
		if latest.Equal(t) {
			return outside(all, from, t)
		}
		t = latest
	}
}

func outside(all []window, from, t time.Time) error {
	texts := make([]string, len(all))
	for i, w := range all {
		texts[i] = w.String()
	}
	allowed := strings.Join(texts, "; ")
	zone := all[0].zone
	if t.Equal(from) {
		return fmt.Errorf("it is %s, want %s", t.In(zone).Format("Mon 15:04 MST"), allowed)
	}
	return fmt.Errorf("the fault may last beyond %s, want %s", t.In(zone).Format("Mon 15:04 MST"), allowed)
}

// timeOfDay reads "09:00"; "24:00" is the day's end.
func timeOfDay(text string) (time.Duration, error) {
	var h, m int
	if n, err := fmt.Sscanf(text, "%02d:%02d", &h, &m); n != 2 || err != nil || len(text) != 5 || h < 0 || h > 24 || m < 0 || m > 59 || h == 24 && m > 0 {
		return 0, fmt.Errorf("got %q, want a time of day such as \"09:00\"", text)
	}
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute, nil
}
