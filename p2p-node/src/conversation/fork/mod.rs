//! Forks: a server that gives two members different winners splits a group. Each is in an epoch that the other has not, until they compare what
//! they have followed, and all go on from the commit that comes first in an order that is the same for everybody.

mod parents;
