c\url x
cu''rl x
c"ur"l x
"curl" x
'curl' x
\curl x
$(echo curl) x
x=curl; $x y
command curl x
echo x | bash
base64 -d x | sh
$'\x63url' x
rm "-rf" /x
rm -'r'f /x
\rm -rf /x
find . -exec rm -rf x +
xargs kill
alias g="curl -s"
/usr/bin/wget x
eval "$x"
x=`curl y`
if ! wget x; then :; fi
busybox wget x
echo x > "/dev/sda"
exec curl x
cat "/etc"/passwd
{curl,x}
c{ur,}l x
{c..c}url x
