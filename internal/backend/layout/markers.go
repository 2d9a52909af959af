package layout

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// IsMarker reports whether a file has the name of a StorageMetadata or RepositoryMetadata, whatever it contains.
func IsMarker(p string) bool {
	base := path.Base(p)
	return base == path.Base(RepositoryPath("")) || base == StorageMetadataPath()
}

// IsOthers reports whether the content of a file with the name of a marker is surely that of another program: a
// document that Cairn never wrote. What can't be read can be a marker that was damaged.
func IsOthers(text []byte) bool {
	var h Header
	switch err := check(text); {
	case errors.Is(err, errAlias):
		return true
	case err != nil:
		return false
	}
	return yaml.Unmarshal(text, &h) == nil && !strings.HasPrefix(h.APIVersion, "storage.cairn.dev/")
}

// KeeperPath returns the directory with the lease of the keeper that works in the repository. Its name is not reserved
// and it is none of Parts: an older repository can lie there.
func KeeperPath(directory string) string { return path.Join(directory, "keeper") }

// leasePattern is the name of a file with a KeeperLease. The names sort by number.
const leasePattern = "lease-%012d.yaml"

// KeeperLeasePath returns the path of the KeeperLease with a number. Each renewal has the next one, and the highest
// counts.
func KeeperLeasePath(directory string, number int64) string {
	return path.Join(KeeperPath(directory), fmt.Sprintf(leasePattern, number))
}

// ParseKeeperLeasePath undoes KeeperLeasePath. ok is false for any other path.
func ParseKeeperLeasePath(directory, p string) (number int64, ok bool) {
	_, err := fmt.Sscanf(path.Base(p), leasePattern, &number)
	return number, err == nil && p == KeeperLeasePath(directory, number)
}

// KeeperLease says which keeper works in the repository.
type KeeperLease struct {
	Header  `json:",inline"`
	Holder  string    `json:"holder"` // it differs for each keeper
	Renewed time.Time `json:"renewed"`
}

// kindKeeperLease is the kind of a KeeperLease.
const kindKeeperLease = "KeeperLease"

// Marshal returns the content of the file. Times are in UTC.
func (m KeeperLease) Marshal() ([]byte, error) {
	m.Header, m.Renewed = header(kindKeeperLease), m.Renewed.UTC()
	return yaml.Marshal(m)
}

// ParseKeeperLease reads what KeeperLease.Marshal wrote and refuses unknown fields.
func ParseKeeperLease(b []byte) (m KeeperLease, err error) {
	if err = parse(b, kindKeeperLease, &m); err == nil {
		err = required(kindKeeperLease, "holder", m.Holder)
	}
	return m, err
}
