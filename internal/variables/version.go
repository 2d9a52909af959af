package variables

import (
	"errors"
	"fmt"
	"slices"

	"github.com/blang/semver/v4"
)

// PickVersion returns the available version that fits a database's version best: the newest version that is not newer,
// if it has the same major version; otherwise the oldest version that is newer; otherwise the newest of all.
func PickVersion(database string, available []string) (string, error) {
	want, err := semver.ParseTolerant(database)
	if err != nil {
		return "", fmt.Errorf("DB_VERSION %q is not a version: %w", database, err)
	}
	type candidate struct {
		text    string
		version semver.Version
	}
	var all []candidate
	for _, text := range available {
		version, err := semver.ParseTolerant(text)
		if err != nil {
			return "", fmt.Errorf("availableVersions: %q is not a version: %w", text, err)
		}
		all = append(all, candidate{text, version})
	}
	if len(all) == 0 {
		return "", errors.New("availableVersions is empty")
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return a.version.Compare(b.version) })
	next := slices.IndexFunc(all, func(c candidate) bool { return c.version.GT(want) })
	switch {
	case next < 0:
		return all[len(all)-1].text, nil
	case next > 0 && all[next-1].version.Major == want.Major:
		return all[next-1].text, nil
	}
	return all[next].text, nil
}
