package ledger

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Policy is a row of the page: a BackupConfiguration or BackupBatch and the result of its last run. Times are
// absolute, so that the page changes only when something happened.
type Policy struct {
	Namespace, Kind, Name string
	// Targets are in the form "<kind>/<name>", in the order of the policy.
	Targets []string
	// NoBackup are those of them that never had a good backup.
	NoBackup []string
	// NoneLeft are those that had backups, and have none any more. NoneLeftInSome are those of which another repository
	// can hold some.
	NoneLeft, NoneLeftInSome []string
	// Damaged are those that have backups, all of which are damaged. NewestDamaged are those whose newest backup in
	// some repository is damaged, while another one is not, SomeDamaged those of which only older ones are. Damage adds
	// the latter two.
	Damaged, NewestDamaged, SomeDamaged []string
	// Unreadable are those that have backups, none of which can be read, some or all because a Repository can't be
	// opened. SomeUnreadable are those of which another backup can be read. Lose adds them.
	Unreadable, SomeUnreadable []string
	// HalfRestored are those without a good backup, whose newest one in some repository was made after a restore had
	// left the target half written. HalfRestoredInSome are those of which another repository has a good one.
	HalfRestored, HalfRestoredInSome []string
	// Unchecked are those of whose backups nothing is left but what a scan has found and no check has looked at.
	// UncheckedInSome are those of which that is so in some repository.
	Unchecked, UncheckedInSome []string
	// why has what a row adds to a flaw: the reasons of both, and how many backups are damaged.
	why map[flaw][]string
	// Empty are the names of targets whose selectors find nothing.
	Empty []string
	// LastSuccess is when the last successful run ended. Zero means that none is known.
	LastSuccess time.Time
	// LastResult is the phase of the last run that ended. LastReason is its reason, or why a success lacks
	// something, such as Partial. Empty means that none is known.
	LastResult, LastReason string
	// Next is the next slot. Zero means that there is none.
	Next time.Time
	// Paused says that no schedule of the policy starts anything for now. Suspended are the sessions of which that is
	// so, and AllSuspended says that there is no other session with a schedule.
	Paused       bool
	Suspended    []string
	AllSuspended bool
	// Late says that a run that should have succeeded by now has not.
	Late bool
	// Due is when it becomes late if nothing succeeds until then. Zero means never.
	Due time.Time
}

// flaw is what is wrong with a target.
type flaw struct{ target, what string }

// What a row says of a target, with a reason.
const (
	unreadable     = "backups can't be read"
	someUnreadable = "some backups can't be read"
	newestDamaged  = "newest backup damaged"
	someDamaged    = "some backups damaged"
)

// Lose notes that backups of a target can't be read, for the reason of a Repository.
func (p *Policy) Lose(target, reason string, all bool) {
	if all {
		p.because(target, unreadable, reason)
		p.Unreadable = append(p.Unreadable, target)
	} else {
		p.because(target, someUnreadable, reason)
		p.SomeUnreadable = append(p.SomeUnreadable, target)
	}
}

// Damage notes that some backups of a target are damaged, with or without a newest one, and others are not.
func (p *Policy) Damage(target string, newest bool, damaged, of int) {
	what := someDamaged
	if newest {
		what = newestDamaged
		p.NewestDamaged = append(p.NewestDamaged, target)
	} else {
		p.SomeDamaged = append(p.SomeDamaged, target)
	}
	if damaged > 0 {
		p.because(target, what, fmt.Sprintf("%d of %d", damaged, of))
	}
}

// because notes a reason of a flaw. Several targets of a policy can be the same object, each with its reason.
func (p *Policy) because(target, what, why string) {
	if p.why == nil {
		p.why = map[flaw][]string{}
	}
	f := flaw{target, what}
	if !slices.Contains(p.why[f], why) {
		p.why[f] = append(p.why[f], why)
	}
}

// kept is what a page says first, as long as somebody keeps it.
const kept = "Cairn keeps this page up to date."

// Retire returns the page of a cluster that nobody keeps any more. It says so at its top, and where the page is now if
// it has moved.
func Retire(page []byte, cluster string, since time.Time, now string) []byte {
	notice := fmt.Sprintf("**No longer kept since %s:** the page shows the state of that time, and changes no more.",
		moment(since))
	if now != "" {
		notice += " Cairn goes on in " + escape(now) + "."
	}
	_, rest, _ := bytes.Cut(page, []byte("\n"))
	if before, after, found := bytes.Cut(rest, []byte("\n"+lateFrom)); found {
		_, after, _ = bytes.Cut(after, []byte("\n"))
		rest = slices.Concat(before, after)
	}
	return slices.Concat([]byte(title(cluster)), bytes.Replace(rest, []byte(kept), []byte(notice), 1))
}

// lateFrom begins the line that says before what time no policy becomes late.
const lateFrom = "**No policy becomes late before "

// validity says before what time no policy becomes late, whatever becomes of its runs. It changes only when a policy
// that is not late has another success, or is edited. Those who keep the page look at it again within the interval
// after that. It is "" if no policy will be late.
func validity(policies []Policy, interval time.Duration) string {
	var until time.Time
	for _, p := range policies {
		if !p.Late && !p.Due.IsZero() && (until.IsZero() || p.Due.Before(until)) {
			until = p.Due
		}
	}
	if until.IsZero() {
		return ""
	}
	grace := "an hour"
	if hours := (interval + interval/4 + 90*time.Minute - 1) / time.Hour; hours > 1 {
		grace = fmt.Sprintf("%d hours", hours)
	}
	return "\n" + lateFrom + moment(until) + ".** If this page still says so " + grace +
		" later, nobody keeps it any more.\n"
}

func title(cluster string) string { return "# Backups of " + escape(cluster) + "\n" }

// maxTargets is the number of targets that a row names, and maxPolicies that of the policies at the top.
const (
	maxTargets  = 10
	maxPolicies = 10
)

// Page returns the page for people, in Markdown. It is a function of the set of policies, in any order, and of how
// often those who keep it look at it.
func Page(cluster string, policies []Policy, interval time.Duration) []byte {
	policies = slices.Clone(policies)
	slices.SortFunc(policies, func(a, b Policy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	var out strings.Builder
	out.WriteString(title(cluster) + "\n" + kept +
		" Times are UTC. A policy is late when a run that was due has not succeeded within its time.\n")
	out.WriteString(validity(policies, interval))
	out.WriteString(affected("No backup yet", policies, func(p Policy) []string { return p.NoBackup }))
	out.WriteString(affected("No backup left", policies, func(p Policy) []string { return p.NoneLeft }))
	out.WriteString(affected("No backup left in some repository", policies,
		func(p Policy) []string { return p.NoneLeftInSome }))
	out.WriteString(affected("Can't be read", policies, func(p Policy) []string { return p.Unreadable }))
	out.WriteString(affected("Damaged", policies, func(p Policy) []string { return p.Damaged }))
	out.WriteString(affected("Some backups damaged", policies,
		func(p Policy) []string { return slices.Concat(p.NewestDamaged, p.SomeDamaged) }))
	out.WriteString(affected("Half restored", policies, func(p Policy) []string { return p.HalfRestored }))
	out.WriteString(affected("Half restored in some repository", policies,
		func(p Policy) []string { return p.HalfRestoredInSome }))
	out.WriteString(affected("Not checked yet", policies, func(p Policy) []string { return p.Unchecked }))
	out.WriteString(affected("Not checked yet in some repository", policies,
		func(p Policy) []string { return p.UncheckedInSome }))
	if len(policies) == 0 {
		out.WriteString("\nThere is no backup policy.\n")
	}
	for i, p := range policies {
		if i == 0 || p.Namespace != policies[i-1].Namespace {
			fmt.Fprintf(&out, "\n## %s\n\n", escape(p.Namespace))
			out.WriteString("| Policy | Targets | Last success | Last result | Next | Late |\n")
			out.WriteString("| --- | --- | --- | --- | --- | --- |\n")
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s |\n", escape(p.Kind+"/"+p.Name), targets(p),
			moment(p.LastSuccess), result(p), next(p), late(p.Late))
	}
	return []byte(out.String())
}

// affected names the policies with targets that something is wrong with.
func affected(what string, policies []Policy, of func(Policy) []string) string {
	var names []string
	more := 0
	for _, p := range policies {
		switch n := len(of(p)); {
		case n == 0:
		case len(names) == maxPolicies:
			more++
		default:
			names = append(names, fmt.Sprintf("%s in %s (%d of %d targets)", escape(p.Kind+"/"+p.Name),
				escape(p.Namespace), n, len(p.Targets)))
		}
	}
	if len(names) == 0 {
		return ""
	}
	if more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return "\n**" + what + ":** " + strings.Join(names, ", ") + ".\n"
}

// group is targets that have the same flaw.
type group struct {
	names []string
	what  string
}

// targets names the targets of a policy. First come the selectors that find nothing, then targets without a backup,
// those that have none left, those with one that is damaged or can't be read, those whose newest one is half restored,
// and those whose backups nobody has checked. A target with several flaws comes with the first, and says all.
func targets(p Policy) string {
	flaws := []group{
		{p.NoBackup, "no backup yet"},
		{p.NoneLeft, "no backup left"},
		{p.Unreadable, unreadable},
		{p.Damaged, "all backups damaged"},
		{p.NoneLeftInSome, "no backup left in some repository"},
		{p.SomeUnreadable, someUnreadable},
		{p.NewestDamaged, newestDamaged},
		{p.SomeDamaged, someDamaged},
		{p.HalfRestored, "newest backup half restored"},
		{p.HalfRestoredInSome, "newest backup half restored in some repository"},
		{p.Unchecked, "backups not checked yet"},
		{p.UncheckedInSome, "backups not checked yet in some repository"},
	}
	said, left := map[string]string{}, slices.Clone(p.Targets)
	groups := []group{{p.Empty, "selector finds nothing"}}
	for _, f := range flaws {
		first := slices.DeleteFunc(slices.Clone(f.names), func(t string) bool { return said[t] != "" })
		groups = append(groups, group{first, f.what})
		for _, t := range unique(f.names) {
			said[t] = p.says(said[t], flaw{t, f.what})
		}
	}
	left = slices.DeleteFunc(left, func(t string) bool { return said[t] != "" })
	for _, name := range p.Empty {
		said[name] = groups[0].what
	}
	var shown []string
	more, rest := 0, ""
	for _, group := range append(groups, group{names: left}) {
		hidden := max(len(group.names)-(maxTargets-len(shown)), 0)
		for _, name := range group.names[:len(group.names)-hidden] {
			text := escape(name)
			if group.what != "" {
				text += " (**" + said[name] + "**)"
			}
			shown = append(shown, text)
		}
		if more += hidden; hidden > 0 && group.what != "" {
			rest += fmt.Sprintf(" (**%s** of %d)", group.what, hidden)
		}
	}
	if more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more)+rest)
	}
	return strings.Join(shown, ", ")
}

// unique returns each name once: several targets of a policy can be the same object.
func unique(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// says adds a flaw of a target to what is said of it already.
func (p *Policy) says(already string, f flaw) string {
	text := f.what
	if why := p.why[f]; len(why) > 0 {
		text += ": " + escape(strings.Join(why, ", "))
	}
	if already != "" {
		return already + "; " + text
	}
	return text
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// next says when the next run starts, and which sessions start none for now.
func next(p Policy) string {
	switch {
	case p.Paused:
		return "paused"
	case p.AllSuspended:
		return "suspended"
	case len(p.Suspended) > 0:
		return moment(p.Next) + " (suspended: " + escape(strings.Join(p.Suspended, ", ")) + ")"
	}
	return moment(p.Next)
}

func result(p Policy) string {
	switch {
	case p.LastResult == "":
		return "-"
	case p.LastReason == "" || p.LastReason == p.LastResult:
		return escape(p.LastResult)
	default:
		return escape(p.LastResult + " (" + p.LastReason + ")")
	}
}

func late(is bool) string {
	if is {
		return "**late**"
	}
	return "no"
}

// escape returns a text so that it is literal inside a cell of a Markdown table.
func escape(s string) string {
	var out strings.Builder
	for _, r := range oneLine(s) {
		if strings.ContainsRune("\\`*_[]<>|#&~!", r) {
			out.WriteByte('\\')
		}
		out.WriteRune(r)
	}
	return out.String()
}
