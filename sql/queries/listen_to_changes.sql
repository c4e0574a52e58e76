-- Be told of every change that can change an answer, from now on.
listen tapehouse_change
