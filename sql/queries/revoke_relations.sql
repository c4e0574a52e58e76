-- Take from a role whatever it may do with these relations, the rows of rollups included.
revoke all on {relations} from {role}
