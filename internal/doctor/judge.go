package doctor

import (
	"fmt"
	"maps"
	"slices"
)

// Judge returns the report about an installation.
func Judge(s *State) Report {
	var out Report
	if len(s.Unread) > 0 {
		section := Section{Name: "Not read"}
		for _, resource := range slices.Sorted(maps.Keys(s.Unread)) {
			section.fail("", "%s: %s: what depends on them is not judged", resource, s.Unread[resource])
		}
		out.Sections = append(out.Sections, section)
	}
	in, flags := s.installation()
	if len(in.Findings) > 0 {
		out.Sections = append(out.Sections, in)
	}
	if flags == nil {
		return out // whose rights, which defaults and which rules for addresses is unknown
	}
	j := &judge{State: s, flags: flags, namespaces: map[string]Namespace{}}
	for _, n := range s.Namespaces {
		j.namespaces[n.Name] = n
	}
	for _, section := range []Section{
		j.admission(), j.rights(), j.others(), j.consents(), j.reachable(), j.sharing(), j.defaults(), j.policy(),
	} {
		if len(section.Findings) > 0 {
			out.Sections = append(out.Sections, section)
		}
	}
	return out
}

// judge is a State with what follows from it.
type judge struct {
	*State
	flags      *Flags
	namespaces map[string]Namespace
}

// named returns the name of an object as the report shows it.
func named(kind, namespace, name string) string {
	if namespace == "" {
		return kind + " " + name
	}
	return fmt.Sprintf("%s %s/%s", kind, namespace, name)
}
