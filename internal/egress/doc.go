// Package egress decides to which addresses Cairn connects when the address comes from an object: the URL of a
// PolicySync or a Ledger, the server of a BackupStorage, the host of a hook. Whoever writes such an object is often
// not allowed to reach what the manager or a mover reaches.
//
// A Policy judges each address at the moment of the connection, after its name was resolved. So it holds for every
// spelling of a host, for a redirect, and for a name that resolves differently from one moment to the next. It is safe
// for concurrent use. The nil Policy has the built-in rules.
//
// A proxy of the environment is the administrator's: the Policy judges the proxy's own address as any other. The proxy
// resolves the names that it gets, so only its own rules can judge those. A host that is an address is judged before
// the proxy gets it.
package egress
