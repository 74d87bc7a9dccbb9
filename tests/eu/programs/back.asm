// r40 counts up to r20, at least to 1, in a loop without structure; then once more.
(W) mov (16|M0) r40.0<1>:d 0:w
Lback:
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d 1:w
cmp (16|M0) (lt)f0.0 null<1>:d r40.0<8;8,1>:d r20.0<8;8,1>:d
(f0.0) goto.b (16|M0) Ljoin Lback
Ljoin:
join (16|M0) Lend
Lend:
add (16|M0) r40.0<1>:d r40.0<8;8,1>:d 1:w
(W) send.ts (8|M0) null r127 null 0x0 0x02000010 {EOT}
