package source

import (
	"path"
	"slices"
	"strings"
)

// checkLink follows a link as the kernel would, through every other link of the revision, and fails if any step
// leaves the checkout. It is not enough to clean the text: with up -> a/b/.., "up/.." is not what it looks like. A
// path that does not exist is followed by its text.
func (p *plan) checkLink(link string) error {
	at := split(path.Dir(link)) // where we are, as real directories
	todo := split(link)[len(at):]
	for hops := 0; len(todo) > 0; {
		step := todo[0]
		todo = todo[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return fail(ErrSymlink,
					"symbolic link %s (to %q) leads out of the repository: remove it or let it point inside",
					link, p.links[link])
			}
			at = at[:len(at)-1]
			continue
		}
		next := append(slices.Clone(at), step)
		target, isLink := p.links[strings.Join(next, "/")]
		switch {
		case !isLink:
			at = next
			continue
		case path.IsAbs(target):
			return fail(ErrSymlink,
				"symbolic link %s (to %q) leads out of the repository: remove it or let it point inside",
				link, p.links[link])
		}
		if hops++; hops > maxHops {
			return fail(ErrSymlink, "symbolic link %s (to %q) points to itself through other links: remove it", link,
				p.links[link])
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return nil
}

func split(p string) []string {
	if p == "." || p == "" {
		return nil
	}
	return strings.Split(p, "/")
}
